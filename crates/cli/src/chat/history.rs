//! What was said so far.
use crate::{
    errors::{At, CliError, Exit},
    new_file::NewFile,
    run::prompt,
};
use chat_template::Conversation;
use serde::{Deserialize, Serialize};
use std::{io::Write, path::Path};

/// A message, as in OpenAI's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// The messages of a chat: maybe one of the system, then the user's and the assistant's in turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    pub(super) system: Option<String>,
    messages: Vec<Message>,
    /// So many of the oldest messages no longer fit into the context.
    n_left_out: usize,
}

/// What `/save` writes, and `lockstep template --messages` reads as well.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    messages: Vec<Message>,
}

const USER: &str = "user";
const ASSISTANT: &str = "assistant";
const SYSTEM: &str = "system";

impl History {
    /// Nothing said yet.
    pub(super) fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    pub(super) fn push_user(&mut self, content: &str) {
        self.push(USER, content);
    }

    pub(super) fn push_assistant(&mut self, content: &str) {
        self.push(ASSISTANT, content);
    }

    fn push(&mut self, role: &str, content: &str) {
        self.messages.push(Message { role: role.to_owned(), content: content.to_owned() });
    }

    /// Whether nobody said anything.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the user had the last word.
    pub(super) fn waits_for_answer(&self) -> bool {
        self.messages.last().is_some_and(|message| message.role == USER)
    }

    /// Takes back the last answer; whether there was one.
    pub(super) fn pop_answer(&mut self) -> bool {
        let answered = self.messages.last().is_some_and(|message| message.role == ASSISTANT);
        if answered {
            self.messages.pop();
        }
        answered
    }

    /// Takes back the last thing that the user said and what was answered; returns the user's words.
    pub(super) fn pop_exchange(&mut self) -> Option<String> {
        let last = self.messages.iter().rposition(|message| message.role == USER)?;
        let said = self.messages.drain(last..).next().map(|message| message.content);
        // What was left out for its sake may fit again.
        self.n_left_out = 0;
        said
    }

    /// Forgets all messages but the system's.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.n_left_out = 0;
    }

    /// Leaves out the oldest exchange that is still in, but never the last; whether there was one. Returns how many
    /// messages that were.
    pub(super) fn leave_out_oldest(&mut self) -> Option<usize> {
        let from = self.n_left_out + 1;
        let rest = self.messages.get(from..)?;
        let n_more = 1 + rest.iter().position(|message| message.role == USER)?;
        self.n_left_out += n_more;
        Some(n_more)
    }

    /// What the template gets.
    pub(super) fn conversation(&self) -> Conversation {
        let mut conversation = Conversation::default();
        if let Some(system) = &self.system {
            conversation.push(SYSTEM, system);
        }
        for Message { role, content } in self.messages.iter().skip(self.n_left_out) {
            conversation.push(role, content);
        }
        conversation
    }

    /// Writes all messages to a file that is not there yet, or that this chat came from.
    pub(super) fn save(&self, file: &Path) -> Result<(), CliError> {
        let system = self
            .system
            .as_ref()
            .map(|system| Message { role: SYSTEM.to_owned(), content: system.clone() });
        let messages = system.into_iter().chain(self.messages.iter().cloned()).collect();
        let mut out = NewFile::create(file)?;
        serde_json::to_writer_pretty(&mut out, &File { messages })
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|e| CliError::new("E-IO", Exit::Io, format!("cannot write: {e}")).at(file))?;
        out.persist()
    }

    /// Reads what [`Self::save`] wrote.
    pub(super) fn load(file: &Path) -> Result<Self, CliError> {
        let wrong = |what: &str| {
            let text = format!(
                "{what}; must be {{\"messages\": [{{\"role\", \"content\"}}, …]}}, as /save writes"
            );
            CliError::new("E-CHAT", Exit::Malformed, text).at(file)
        };
        let text = prompt::read_path(file).at(file)?;
        let found: File = serde_json::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
        let mut history = Self::default();
        for (i, message) in found.messages.into_iter().enumerate() {
            let expected = if history.waits_for_answer() { ASSISTANT } else { USER };
            match message.role.as_str() {
                SYSTEM if i == 0 => history.system = Some(message.content),
                role if role == expected => history.messages.push(message),
                role => {
                    return Err(wrong(&format!(
                        "message {} is of role {role:?}, not {expected:?}",
                        i + 1
                    )));
                }
            }
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(turns: usize) -> History {
        let mut history = History::new(Some("s".to_owned()));
        for i in 0..turns {
            history.push_user(&format!("q{i}"));
            history.push_assistant(&format!("a{i}"));
        }
        history
    }

    #[test]
    fn saved_and_loaded_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chat.json");
        for turns in [0, 1, 3] {
            history(turns).save(&file).unwrap();
            assert_eq!(History::load(&file).unwrap(), history(turns), "{turns}");
        }
        for bad in [
            "",
            "[]",
            "{\"messages\": 1}",
            "{\"messages\": [{\"role\": \"user\"}]}",
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\"}]}",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"\"}, {\"role\": \"system\", \"content\": \"\"}]}",
        ] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(History::load(&file).unwrap_err().exit, Exit::Malformed, "{bad}");
        }
    }

    #[test]
    fn taking_back() {
        let mut chat = history(2);
        assert!(chat.pop_answer() && chat.waits_for_answer() && !chat.pop_answer());
        assert_eq!(chat.pop_exchange().as_deref(), Some("q1"));
        assert_eq!(chat, history(1));
        assert_eq!(chat.pop_exchange().as_deref(), Some("q0"));
        assert_eq!(chat.pop_exchange(), None);
    }

    #[test]
    fn the_last_exchange_is_never_left_out() {
        let mut chat = history(2);
        chat.push_user("q2");
        assert_eq!(chat.leave_out_oldest(), Some(2));
        assert_eq!(chat.leave_out_oldest(), Some(2));
        assert_eq!(chat.leave_out_oldest(), None);
        let mut wanted = Conversation::default();
        wanted.push("system", "s");
        wanted.push("user", "q2");
        assert_eq!(chat.conversation(), wanted);
    }
}
