//! What is typed in a chat: messages, and commands that begin with a slash.

/// A line, or several that belong together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing but white space.
    Nothing,
    Say(String),
    Help,
    System(Option<String>),
    Save(String),
    Load(String),
    Retry,
    Undo,
    Clear,
    /// A setting by its name, or none: show them.
    Set(Option<(String, String)>),
    Stats,
    Exit,
    /// A command that is none, or lacks something; what to tell.
    Wrong(String),
}

pub(super) const HELP: &str = "\
/system TEXT         the system message from now on; without TEXT, show it
/retry               another answer to the last message
/undo                take back the last message and its answer
/clear               forget the chat, keep the system message
/save FILE           write the chat to FILE (JSON)
/load FILE           go on with the chat in FILE
/set NAME VALUE      change a setting: temperature 0.7, top-k 40, seed 1, n-predict 200 …; without NAME, show them
/stats               tokens and speed
/exit, Ctrl-D        leave
Ctrl-C               stop the answer, keep the chat
\"\"\" … \"\"\"          a message of several lines; or end a line with \\
A message that begins with a slash: put a space in front.";

/// The names, for completion.
pub(super) const COMMANDS: [&str; 10] =
    ["/help", "/system", "/retry", "/undo", "/clear", "/save", "/load", "/set", "/stats", "/exit"];

/// Opens and closes a message of several lines.
const QUOTES: &str = "\"\"\"";

/// Whether `text` goes on with the next line.
pub(super) fn goes_on(text: &str) -> bool {
    match text.strip_prefix(QUOTES) {
        Some(rest) => !rest.trim_end().ends_with(QUOTES),
        None => text.ends_with('\\'),
    }
}

/// What a text means, of which [`goes_on`] is false (or the input ended).
pub(super) fn parse(text: &str) -> Input {
    if let Some(rest) = text.strip_prefix(QUOTES) {
        let rest = rest.trim_end();
        let inner = rest.strip_suffix(QUOTES).unwrap_or(rest);
        let inner = inner.strip_prefix('\n').unwrap_or(inner);
        let inner = inner.strip_suffix('\n').unwrap_or(inner);
        return if inner.trim().is_empty() { Input::Nothing } else { Input::Say(inner.to_owned()) };
    }
    if text.trim().is_empty() {
        return Input::Nothing;
    }
    if !text.starts_with('/') {
        // The space that keeps a slash from being a command is not part of the message.
        let text = if text.starts_with(" /") { &text[1..] } else { text };
        return Input::Say(text.replace("\\\n", "\n").trim_end_matches('\\').to_owned());
    }
    command(text.trim_end())
}

fn command(text: &str) -> Input {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let argument = (!rest.is_empty()).then(|| rest.to_owned());
    let lonely = |input: Input| match &argument {
        None => input,
        Some(_) => Input::Wrong(format!("{name} takes nothing behind it")),
    };
    match name {
        "/help" | "/?" => lonely(Input::Help),
        "/system" => Input::System(argument),
        "/save" => {
            argument.map_or_else(|| Input::Wrong("/save FILE: which file?".into()), Input::Save)
        }
        "/load" => {
            argument.map_or_else(|| Input::Wrong("/load FILE: which file?".into()), Input::Load)
        }
        "/retry" | "/regen" => lonely(Input::Retry),
        "/undo" => lonely(Input::Undo),
        "/clear" => lonely(Input::Clear),
        "/set" => match (argument.as_deref(), rest.split_once(char::is_whitespace)) {
            (None, _) => Input::Set(None),
            (_, Some((name, value))) => Input::Set(Some((
                name.trim_start_matches('-').replace('_', "-"),
                value.trim().into(),
            ))),
            (Some(name), None) => Input::Wrong(format!("/set {name} VALUE: which value?")),
        },
        "/stats" => lonely(Input::Stats),
        "/exit" | "/quit" | "/bye" => lonely(Input::Exit),
        _ => Input::Wrong(format!("{name} is no command; /help lists them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str) -> Input {
        Input::Say(text.to_owned())
    }

    #[test]
    fn messages() {
        assert_eq!(parse("Hi there "), say("Hi there "));
        assert_eq!(parse(" /etc is a folder"), say("/etc is a folder"));
        assert_eq!(parse("  "), Input::Nothing);
        for (open, closed, meant) in [
            ("one\\", "one\\\ntwo", "one\ntwo"),
            ("\"\"\"", "\"\"\"\none\n\ntwo\n\"\"\"", "one\n\ntwo"),
            ("\"\"\"one", "\"\"\"one\"\"\"  ", "one"),
            ("\"\"\"/exit\n", "\"\"\"/exit\n\"\"\"", "/exit"),
        ] {
            assert!(goes_on(open) && !goes_on(closed), "{open}");
            assert_eq!(parse(closed), say(meant));
        }
        assert_eq!(parse("cut off\\"), say("cut off"), "the input ended");
    }

    #[test]
    fn commands() {
        assert_eq!(parse("/exit"), Input::Exit);
        assert_eq!(parse("/bye "), Input::Exit);
        assert_eq!(parse("/system  You are terse. "), Input::System(Some("You are terse.".into())));
        assert_eq!(parse("/system"), Input::System(None));
        assert_eq!(parse("/save my chat.json"), Input::Save("my chat.json".into()));
        let set = |name: &str, value: &str| Input::Set(Some((name.into(), value.into())));
        assert_eq!(parse("/set temperature 0.7"), set("temperature", "0.7"));
        assert_eq!(parse("/set --top_k  -1"), set("top-k", "-1"));
        for wrong in ["/save", "/load", "/set temp", "/undo 2", "/nonsense", "/"] {
            assert!(matches!(parse(wrong), Input::Wrong(_)), "{wrong}");
        }
        for name in COMMANDS {
            assert!(HELP.contains(name) || name == "/help", "{name}");
            assert!(!matches!(parse(name), Input::Wrong(text) if text.contains("no command")));
        }
    }
}
