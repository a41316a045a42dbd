//! Templates that want to run for ever, to fill the memory, to overflow the stack, or to look around.
use chat_template::{Conversation, Options, Prompt, Template, TemplateError};
use std::time::{Duration, Instant};

fn render(source: &str) -> Result<Prompt, TemplateError> {
    let mut conversation = Conversation::default();
    conversation.push("user", "{{ 7 * 7 }} {% raw %} <|im_start|>");
    Template::new(source)?.render(&conversation, &Options::default())
}

/// What a template is stopped by.
fn limit(source: &str) -> &'static str {
    let start = Instant::now();
    let result = render(source);
    assert!(start.elapsed() < Duration::from_secs(10), "{source:.80} took {:?}", start.elapsed());
    match result {
        Err(TemplateError::Limit { what, .. }) => what,
        other => panic_with(source, &other),
    }
}

fn problem(source: &str) -> String {
    match render(source) {
        Err(TemplateError::Render { problem, .. } | TemplateError::Syntax { problem, .. }) => {
            problem
        }
        other => panic_with(source, &other),
    }
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn panic_with(source: &str, found: &Result<Prompt, TemplateError>) -> ! {
    panic!("{source:.80} gives {found:.200?}")
}

#[test]
fn a_macro_that_calls_itself_ends() {
    let forever = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    assert_eq!(limit(forever), "calls nested too deeply");
    let both =
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}";
    assert_eq!(limit(both), "calls nested too deeply");
    let caller = "{% macro m() %}{{ caller() }}{% endmacro %}\
                  {% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}";
    assert_eq!(limit(caller), "calls nested too deeply");
}

#[test]
fn long_loops_end() {
    let start = Instant::now();
    assert_eq!(limit("{% for i in range(1000000000) %}{% endfor %}"), "too many steps");
    assert_eq!(limit("{{ range(-9223372036854775807, 9223372036854775807) }}"), "too many steps");
    assert!(start.elapsed() < Duration::from_secs(1), "refused before it begins");
    let nested = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    assert_eq!(limit(nested), "too many steps");
    // A list that grows while it is looped over: the loop has its own.
    let grows =
        "{% set l = [1] %}{% for i in l %}{% set _ = l.append(i) %}{% endfor %}{{ l | length }}";
    assert_eq!(render(grows).unwrap().text, "2");
}

#[test]
fn strings_do_not_fill_the_memory() {
    let doubling = "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(40) %}\
                    {% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
    assert_eq!(limit(doubling), "too many bytes in strings");
    assert_eq!(limit("{{ 'a' * 1000000000 }}"), "too many bytes in strings");
    let output = "{% for i in range(100000) %}{{ 'a' * 100 }}{% endfor %}";
    assert_eq!(limit(output), "too many bytes in the prompt");
    let replace = "{% set ns = namespace(s='aa') %}{% for i in range(40) %}\
                   {% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}";
    assert!(["too many bytes in strings", "too many steps"].contains(&limit(replace)), "{replace}");
    let lists = "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}\
                 {% set ns.l = ns.l + ns.l %}{% endfor %}";
    assert_eq!(limit(lists), "too many steps");
}

#[test]
fn depth_is_limited_where_it_is_written() {
    for (open, middle, close) in [
        ("{% if true %}", "", "{% endif %}"),
        ("{{ (", "1", ") }}"),
        ("{{ [", "1", "] }}"),
        ("{{ {1: ", "1", "} }}"),
        ("{{ -", "1", " }}"),
        ("{{ not ", "1", " }}"),
        ("{{ 1 if true else ", "1", " }}"),
        ("{{ f(", "", ") }}"),
    ] {
        // Within one tag it is opened and closed once.
        let inner = |text: &str| text.trim_start_matches("{{ ").trim_end_matches(" }}").to_owned();
        let (o, c) = (inner(open), inner(close));
        let source = if open.starts_with("{%") {
            format!("{}{middle}{}", open.repeat(40_000), close.repeat(40_000))
        } else {
            format!("{{{{ {}{middle}{} }}}}", o.repeat(20_000), c.repeat(20_000))
        };
        assert!(problem(&source).contains("levels"), "{open}: {}", problem(&source));
    }
    for chain in ["+1", "~1", ".a", "[0]", "|abs", " is odd", "()", " and 1", " in x"] {
        let source = format!("{{{{ x{} }}}}", chain.repeat(50_000));
        assert!(problem(&source).contains("levels"), "{chain}");
    }
    let elifs = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(20_000));
    assert_eq!(render(&elifs).unwrap().text, "");
}

#[test]
fn deep_values_are_freed_and_refused() {
    let deep = "{% set ns = namespace(l=[]) %}{% for i in range(20000) %}\
                {% set ns.l = [ns.l] %}{% endfor %}";
    assert_eq!(render(&format!("{deep}built")).unwrap().text, "built");
    for show in ["{{ ns.l }}", "{{ ns.l ~ '' }}", "{{ ns.l | tojson }}"] {
        assert_eq!(limit(&format!("{deep}{show}")), "lists nested too deeply");
    }
    let inner = "{% set ns = namespace(l=[]) %}{% set top = [ns.l] %}{% for i in range(20000) %}\
                 {% set new = [] %}{% set _ = ns.l.append(new) %}{% set ns.l = new %}{% endfor %}x";
    assert_eq!(render(inner).unwrap().text, "x");
    let methods = "{% set ns = namespace(l=[]) %}{% for i in range(20000) %}\
                   {% set ns.l = [ns.l.append] %}{% endfor %}x";
    assert_eq!(render(methods).unwrap().text, "x");
    let itself = "{% set l = [] %}{% set _ = l.append(l) %}{{ l == l }}{{ l }}";
    assert_eq!(limit(itself), "lists nested too deeply");
}

#[test]
fn nothing_of_the_host_can_be_reached() {
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum() }}",
        "{{ self.__init__() }}",
        "{{ range.__globals__.x() }}",
    ] {
        assert!(problem(source).contains("undefined cannot be called"), "{source}");
    }
    for source in ["{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}"] {
        assert!(problem(source).contains("unknown statement"), "{source}");
    }
}

#[test]
fn broken_templates_name_the_place() {
    for (source, place, what) in [
        ("a\n{% if x", (2, 1), "the tag has no %}"),
        ("{{ 'abc", (1, 4), "the string has no end"),
        ("{# abc", (1, 1), "the comment has no end"),
        ("é{{ 1 ? 2 }}", (1, 7), "unexpected '?'"),
        ("{% for x in y %}", (1, 17), "expected else or endfor, found the end"),
        ("{% endif %}", (1, 4), "unknown statement endif"),
        ("{{ 99999999999999999999 }}", (1, 4), "the number is too large"),
    ] {
        let Err(TemplateError::Syntax { line, column, problem }) = Template::new(source) else {
            panic_with(source, &render(source));
        };
        assert_eq!(((line, column), problem.as_str()), (place, what), "{source}");
    }
    let large = "x".repeat(16 << 20);
    let found = Template::new(&large).unwrap_err();
    assert_eq!(found, TemplateError::TooLarge { found: 16 << 20, allowed: 1 << 20 });
}

#[test]
fn what_users_write_is_never_a_template() {
    let prompt = render("{{ messages[0].content }}").unwrap();
    assert_eq!(prompt.text, "{{ 7 * 7 }} {% raw %} <|im_start|>");
    assert_eq!((prompt.input.len(), prompt.input.first()), (1, Some(&(0..prompt.text.len()))));
    // Whatever is done to a text, its marks stay.
    for source in [
        "{% set t = messages[0].content %}{{ t.split(' ') | join(' ') }}",
        "{{ messages[0].content | upper | lower }}",
        "{{ messages[0].content | trim }}",
        "{{ messages[0].content | replace('7', '8') }}",
        "{{ messages[0].content[0:99] }}",
        "{{ messages[0].content | list | join('') }}",
        "{{ '{}'.format(messages[0].content) }}",
    ] {
        let prompt = render(source).unwrap();
        assert_eq!(prompt.input.last().unwrap().end, prompt.text.len(), "{source}: {prompt:?}");
        let special = prompt.text.find("<|im_start|>").unwrap();
        let marked =
            prompt.input.iter().any(|r| r.contains(&special) && r.end == prompt.text.len());
        assert!(marked, "{source}: {prompt:?}");
    }
    let json = render("{{ messages | tojson }}").unwrap();
    let special = json.text.find("<|im_start|>").unwrap();
    assert!(
        json.input.iter().any(|r| r.contains(&special) && r.contains(&(special + 11))),
        "{json:?}"
    );
}

#[test]
fn images_and_broken_messages_are_refused() {
    for (text, says) in [
        (
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#,
            "message 1 has a part of type \"image_url\"; only \"text\" can be read",
        ),
        (
            r#"[{"role":"user","content":5}]"#,
            "message 1 has a `content` that is neither a string nor an array",
        ),
        (r#"[{"content":"x"}]"#, "message 1 has no string `role`"),
        (r#"[{"role":"assistant"}]"#, "message 1 has neither `content` nor `tool_calls`"),
        ("[]", "the conversation has no messages"),
        ("5", "the conversation is neither an array of messages nor an object with one"),
        (
            r#"{"messages":[{"role":"user","content":""}],"tools":[{"type":"x"}]}"#,
            "tool 1 is not of type \"function\"",
        ),
    ] {
        let json = serde_json::from_str(text).unwrap();
        assert_eq!(Conversation::from_json(&json).unwrap_err().to_string(), says);
    }
}
