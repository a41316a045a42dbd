//! Messages and tools in OpenAI's format, brought into the form that templates are written for.
use crate::{error::TemplateError, json::Json};

/// What a prompt is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    pub(crate) messages: Vec<Json>,
    pub(crate) tools: Vec<Json>,
}

impl Conversation {
    /// From `{"messages": [...], "tools": [...]}`, or from the array of messages alone.
    ///
    /// # Errors
    /// `Conversation`: which message or tool is not what the format demands, and what it lacks. Images, audio and
    /// files are refused: only text is read.
    pub fn from_json(json: &Json) -> Result<Self, TemplateError> {
        let wrong = |problem: &str| fault("the conversation".to_owned(), problem);
        let (messages, tools) = match json {
            Json::List(messages) => (messages.as_slice(), [].as_slice()),
            Json::Map(_) => {
                let Some(messages) = json.get("messages").and_then(Json::as_list) else {
                    return wrong("has no array `messages`");
                };
                let tools = match json.get("tools") {
                    None | Some(Json::Null) => [].as_slice(),
                    Some(Json::List(tools)) => tools,
                    Some(_) => return wrong("has `tools` that are no array"),
                };
                (messages, tools)
            }
            _ => return wrong("is neither an array of messages nor an object with one"),
        };
        if messages.is_empty() {
            return wrong("has no messages");
        }
        let place = |what: &str, i: usize| format!("{what} {}", i + 1);
        let messages = messages.iter().enumerate().map(|(i, m)| message(m, place("message", i)));
        let tools = tools.iter().enumerate().map(|(i, t)| tool(t, place("tool", i)));
        Ok(Self {
            messages: messages.collect::<Result<_, _>>()?,
            tools: tools.collect::<Result<_, _>>()?,
        })
    }

    /// Adds a message of text.
    pub fn push(&mut self, role: &str, text: &str) {
        self.messages.push(object(vec![("role", string(role)), ("content", string(text))]));
    }

    /// About how many bytes it holds.
    pub(crate) fn n_bytes(&self) -> usize {
        self.messages.iter().chain(&self.tools).map(Json::n_bytes).sum()
    }
}

pub(crate) fn string(text: &str) -> Json {
    Json::Str(text.to_owned())
}

pub(crate) fn object(entries: Vec<(&str, Json)>) -> Json {
    Json::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn fault<T>(place: String, problem: &str) -> Result<T, TemplateError> {
    Err(TemplateError::Conversation { place, problem: problem.to_owned() })
}

/// A message with its members in the order in which llama.cpp hands them to templates.
fn message(json: &Json, place: String) -> Result<Json, TemplateError> {
    let Some(role) = json.get("role").and_then(Json::as_str) else {
        return fault(place, "has no string `role`");
    };
    let given = json.get("content");
    let content = match given {
        None | Some(Json::Null) => string(""),
        Some(Json::Str(text)) => string(text),
        Some(Json::List(parts)) => parts_of(parts, &place)?,
        Some(_) => return fault(place, "has a `content` that is neither a string nor an array"),
    };
    let mut entries = vec![("role", string(role)), ("content", content)];
    for key in ["reasoning_content", "name", "tool_call_id"] {
        match json.get(key) {
            None | Some(Json::Null) => {}
            Some(Json::Str(text)) if text.is_empty() => {}
            Some(Json::Str(text)) => entries.push((key, string(text))),
            Some(_) => return fault(place, &format!("has a `{key}` that is no string")),
        }
    }
    match json.get("tool_calls") {
        None | Some(Json::Null) if given.is_none() => {
            return fault(place, "has neither `content` nor `tool_calls`");
        }
        None | Some(Json::Null) => {}
        Some(Json::List(calls)) if calls.is_empty() => {}
        Some(Json::List(calls)) => {
            let calls = calls.iter().map(|call| tool_call(call, &place));
            entries.push(("tool_calls", Json::List(calls.collect::<Result<_, _>>()?)));
        }
        Some(_) => return fault(place, "has `tool_calls` that are no array"),
    }
    Ok(object(entries))
}

/// The parts of a message, which must be text.
fn parts_of(parts: &[Json], place: &str) -> Result<Json, TemplateError> {
    let part = |part: &Json| match part.get("type").and_then(Json::as_str) {
        Some("text") => match part.get("text").and_then(Json::as_str) {
            Some(text) => Ok(object(vec![("type", string("text")), ("text", string(text))])),
            None => fault(place.to_owned(), "has a part without a string `text`"),
        },
        Some(kind) => {
            let kind: String = kind.chars().take(32).collect();
            let problem = format!("has a part of type {kind:?}; only \"text\" can be read");
            fault(place.to_owned(), &problem)
        }
        None => fault(place.to_owned(), "has a part without a string `type`"),
    };
    parts.iter().map(part).collect::<Result<_, _>>().map(Json::List)
}

fn tool_call(json: &Json, place: &str) -> Result<Json, TemplateError> {
    let wrong = |problem: &str| fault(place.to_owned(), problem);
    if json.get("type").and_then(Json::as_str) != Some("function") {
        return wrong("has a tool call that is not of type \"function\"");
    }
    let Some(function) = json.get("function") else {
        return wrong("has a tool call without `function`");
    };
    let Some(name) = function.get("name").and_then(Json::as_str) else {
        return wrong("has a tool call without a string `name`");
    };
    let arguments = match function.get("arguments") {
        None => return wrong("has a tool call without `arguments`"),
        Some(Json::Str(text)) => text.clone(),
        Some(other) => other.compact(),
    };
    let function = object(vec![("name", string(name)), ("arguments", Json::Str(arguments))]);
    let mut entries = vec![("type", string("function")), ("function", function)];
    match json.get("id") {
        None | Some(Json::Null) => {}
        Some(Json::Str(id)) if id.is_empty() => {}
        Some(Json::Str(id)) => entries.push(("id", string(id))),
        Some(_) => return wrong("has a tool call with an `id` that is no string"),
    }
    Ok(object(entries))
}

fn tool(json: &Json, place: String) -> Result<Json, TemplateError> {
    if json.get("type").and_then(Json::as_str) != Some("function") {
        return fault(place, "is not of type \"function\"");
    }
    let Some(function) = json.get("function") else { return fault(place, "has no `function`") };
    let Some(name) = function.get("name").and_then(Json::as_str) else {
        return fault(place, "has no string `name`");
    };
    let description = function.get("description").and_then(Json::as_str).unwrap_or_default();
    let parameters = function.get("parameters").cloned().unwrap_or(Json::Map(Vec::new()));
    let function = object(vec![
        ("name", string(name)),
        ("description", string(description)),
        ("parameters", parameters),
    ]);
    Ok(object(vec![("type", string("function")), ("function", function)]))
}
