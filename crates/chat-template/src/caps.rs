//! What a template can do, found out as llama.cpp does: by running it and watching what it touches.
use crate::{
    ast::Stmt,
    budget::Budget,
    conversation::{object, string},
    eval::Interp,
    json::Json,
    value::{Probe, Value},
};
use chrono::NaiveDateTime;
use std::rc::Rc;

/// What a template can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// Messages whose content is a string.
    pub string_content: bool,
    /// Messages whose content is an array of parts.
    pub typed_content: bool,
    /// Messages of the role `system`.
    pub system_role: bool,
    /// Descriptions of tools.
    pub tools: bool,
    /// Calls of tools.
    pub tool_calls: bool,
    /// Arguments of calls as objects, not as JSON in a string.
    pub object_arguments: bool,
}

const MARKER: &str = "STRING_MARKER";

/// Runs the template on a few conversations.
pub(crate) fn detect(body: &[Stmt]) -> Caps {
    let mut caps = Caps {
        string_content: true,
        typed_content: false,
        system_role: true,
        tools: true,
        tool_calls: true,
        object_arguments: false,
    };
    content(body, &mut caps);
    let trial = Trial::run(
        body,
        vec![says("system", "System message"), says("user", "User message")],
        false,
    );
    caps.system_role = trial.probe(&["0", "content"], |probe| probe.used.get());
    let arguments = object(vec![("arg", string("value"))]);
    let trial = Trial::run(body, calling(arguments), true);
    if trial.output.is_some() {
        tool_use(&trial, &mut caps);
        let argument = ["1", "tool_calls", "0", "function", "arguments", "arg"];
        caps.object_arguments = caps.tool_calls && trial.probe(&argument, |probe| probe.used.get());
    }
    if !caps.object_arguments {
        let trial = Trial::run(body, calling(string("{\"arg\": \"value\"}")), true);
        if trial.output.is_some() {
            tool_use(&trial, &mut caps);
        } else {
            (caps.tools, caps.tool_calls) = (false, false);
        }
    }
    caps
}

/// Which kinds of content the template writes.
fn content(body: &[Stmt], caps: &mut Caps) {
    let path = ["0", "content"];
    let trial = Trial::run(body, vec![says("user", MARKER)], false);
    let as_list = trial.probe(&path, |probe| probe.as_list.get());
    caps.typed_content = as_list;
    caps.string_content = match &trial.output {
        None => false,
        // Looked at, perhaps, but not written.
        Some(output) => !as_list || output.contains(MARKER),
    };
    if trial.probe(&path, |probe| probe.asked_string.get()) {
        let typed = object(vec![("role", string("user")), ("content", Json::List(Vec::new()))]);
        let trial = Trial::run(body, vec![typed], false);
        let as_list = trial.probe(&path, |probe| probe.as_list.get());
        caps.typed_content |= as_list && trial.output.is_some();
    }
}

fn tool_use(trial: &Trial, caps: &mut Caps) {
    let used = |probe: &Probe| probe.used.get();
    caps.tools &= trial.tool_name.probe().is_some_and(used);
    caps.tool_calls &= trial.probe(&["1", "tool_calls"], used);
}

fn says(role: &str, text: &str) -> Json {
    object(vec![("role", string(role)), ("content", string(text))])
}

/// A conversation with a call and its result.
fn calling(arguments: Json) -> Vec<Json> {
    let function = object(vec![("name", string("tool1")), ("arguments", arguments)]);
    let call = object(vec![
        ("id", string("call00001")),
        ("type", string("function")),
        ("function", function),
    ]);
    let mut calls = says("assistant", "");
    calls.set("tool_calls", Json::List(vec![call]));
    let mut result = says("tool", "Tool response");
    result.set("tool_call_id", string("call00001"));
    vec![
        says("user", "User message"),
        calls,
        result,
        says("assistant", "The tool response was 'tool response'"),
        says("user", "User message"),
    ]
}

fn a_tool() -> Json {
    let argument =
        object(vec![("type", string("string")), ("description", string("Arg description"))]);
    let parameters = object(vec![
        ("type", string("object")),
        ("properties", object(vec![("arg", argument)])),
        ("required", Json::List(vec![string("arg")])),
    ]);
    let function = object(vec![
        ("name", string("tool1")),
        ("description", string("Tool description")),
        ("parameters", parameters),
    ]);
    object(vec![("name", string("tool")), ("type", string("function")), ("function", function)])
}

/// One run: what came out, and the messages with their probes.
struct Trial {
    output: Option<String>,
    messages: Value,
    tool_name: Value,
}

impl Trial {
    fn run(body: &[Stmt], messages: Vec<Json>, with_tools: bool) -> Self {
        let probe = Rc::new(Probe::default());
        let messages = Json::List(messages).to_value(true, Some(&probe));
        let tools = if with_tools { vec![a_tool()] } else { Vec::new() };
        let tools = Json::List(tools).to_value(true, Some(&probe));
        let tool_name = at(&tools, &["0", "function", "name"]);
        let globals = vec![
            ("messages", messages.clone()),
            ("tools", tools),
            ("bos_token", Value::str("")),
            ("eos_token", Value::str("")),
            ("add_generation_prompt", Value::Bool(true)),
        ];
        let mut interp = Interp::new(globals, Budget::trial(), NaiveDateTime::default());
        let output = interp.run(body).ok().map(|text| text.as_str().to_owned());
        Self { output, messages, tool_name }
    }

    fn probe(&self, path: &[&str], what: impl Fn(&Probe) -> bool) -> bool {
        at(&self.messages, path).probe().is_some_and(what)
    }
}

/// What stands at a path; undefined if nothing does.
fn at(value: &Value, path: &[&str]) -> Value {
    let Some((first, rest)) = path.split_first() else { return value.clone() };
    let inner = match value {
        Value::Map(map) => map.get(&Value::str(first)),
        Value::List(list) => {
            first.parse().ok().and_then(|i: usize| list.items.borrow().get(i).cloned())
        }
        _ => None,
    };
    inner.map_or(Value::Undefined, |inner| at(&inner, rest))
}
