//! What llama.cpp does to messages before certain templates see them.
//!
//! Templates are told apart as llama.cpp tells them apart: by words in their source.
use crate::{
    caps::Caps,
    conversation::{object, string},
    error::TemplateError,
    json::Json,
};
use std::collections::HashMap;

/// Templates that want their messages in a form of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Plain,
    /// Ministral 3: content and reasoning as blocks.
    Ministral3,
    /// GPT-OSS: reasoning under the name `thinking`; the role `developer` is its own.
    GptOss,
    /// LFM2 and LFM2.5: reasoning under the name `thinking`.
    Lfm2,
    /// DeepSeek V4: results in the order of the calls.
    DeepSeekV4,
    /// Gemma 4, official template: begins a turn that the template leaves out.
    Gemma4,
    /// Gemma 4, older templates: results within the assistant's message.
    OldGemma4,
    /// StepFun: white space around contents makes it reason in circles.
    StepFun,
}

impl Family {
    pub(crate) fn of(source: &str) -> Self {
        let has = |word: &str| source.contains(word);
        let all = |words: &[&str]| words.iter().all(|word| has(word));
        if has("You have access to the following functions in JSONSchema format") {
            return Self::StepFun;
        }
        if all(&["[SYSTEM_PROMPT]", "[TOOL_CALLS]", "[ARGS]"]) && !has("[CALL_ID]") {
            Self::Ministral3
        } else if has("<|channel|>") {
            Self::GptOss
        } else if all(&["<|tool_list_start|>", "<|tool_list_end|>"])
            || (has("List of tools: [") && !has("<|tool_list_start|>"))
        {
            Self::Lfm2
        } else if all(&["dsml_token", "DSML", "tool_calls"]) && !has("function_calls") {
            Self::DeepSeekV4
        } else if has("'<|tool_call>call:'") {
            if has("{#- OpenAI Chat Completions:") { Self::Gemma4 } else { Self::OldGemma4 }
        } else {
            Self::Plain
        }
    }

    /// What a prompt that asks for an answer still lacks.
    pub(crate) fn turn_after(self, prompt: &str) -> &'static str {
        let is_gemma = matches!(self, Self::Gemma4 | Self::OldGemma4);
        if is_gemma && prompt.ends_with("<turn|>\n") { "<|turn>model\n" } else { "" }
    }
}

impl Family {
    /// In a prompt that asks for no answer, the last of the first becomes the second: what ends an answer while it is
    /// being written is not what ends it in the history.
    pub(crate) fn last_end(self) -> Option<(&'static str, &'static str)> {
        (self == Self::GptOss).then_some(("<|return|>", "<|end|>"))
    }
}

/// The source without two checks that refuse what llama.cpp lets through.
pub(crate) fn patched(source: &str) -> String {
    source
        .replace(
            "{%- if \"<|channel|>analysis<|message|>\" in message.content or \
             \"<|channel|>final<|message|>\" in message.content %}",
            "{%- if false %}",
        )
        .replace(
            "{%- if (message['content'] is none or message['content'] == '' or \
             message['content']|length == 0) and (message['tool_calls'] is not defined or \
             message['tool_calls'] is none or message['tool_calls']|length == 0) %}",
            "{%- if false %}",
        )
}

/// Messages as the template wants them.
pub(crate) fn adjusted(
    messages: &[Json],
    caps: Caps,
    family: Family,
) -> Result<Vec<Json>, TemplateError> {
    let mut messages = messages.to_vec();
    if family == Family::StepFun {
        messages.iter_mut().for_each(trim);
    }
    messages.iter_mut().for_each(|message| kind_of_content(message, caps));
    if family != Family::GptOss {
        for message in messages.iter_mut().filter(|message| is_role(message, "developer")) {
            message.set("role", string("system"));
        }
    }
    if !caps.system_role {
        merge_system(&mut messages);
    }
    if caps.object_arguments {
        for (i, message) in messages.iter_mut().enumerate() {
            parse_arguments(message, i)?;
        }
    }
    match family {
        Family::Ministral3 => messages.iter_mut().for_each(into_blocks),
        Family::GptOss | Family::Lfm2 => {
            messages.iter_mut().for_each(|message| into_thinking(message, family));
        }
        Family::DeepSeekV4 => sort_results(&mut messages),
        Family::OldGemma4 => messages = with_results(messages),
        Family::Plain | Family::Gemma4 | Family::StepFun => {}
    }
    Ok(messages)
}

fn role(message: &Json) -> &str {
    message.get("role").and_then(Json::as_str).unwrap_or_default()
}

fn is_role(message: &Json, wanted: &str) -> bool {
    role(message) == wanted
}

fn calls(message: &Json) -> &[Json] {
    message.get("tool_calls").and_then(Json::as_list).unwrap_or_default()
}

fn trim(message: &mut Json) {
    let trimmed = |text: &str| string(text.trim_matches(|c: char| c.is_ascii_whitespace()));
    for key in ["content", "reasoning_content"] {
        match message.get(key) {
            Some(Json::Str(text)) => {
                let text = trimmed(text);
                message.set(key, text);
            }
            Some(Json::List(parts)) => {
                let mut parts = parts.clone();
                for part in &mut parts {
                    if let Some(text) = part.get("text").and_then(Json::as_str).map(trimmed) {
                        part.set("text", text);
                    }
                }
                message.set(key, Json::List(parts));
            }
            _ => {}
        }
    }
}

/// Content as the one kind that the template knows.
fn kind_of_content(message: &mut Json, caps: Caps) {
    match (caps.string_content, caps.typed_content, message.get("content")) {
        (true, false, Some(Json::List(parts))) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Json::as_str));
            let text = texts.collect::<Vec<_>>().join("\n");
            message.set("content", Json::Str(text));
        }
        (false, true, Some(Json::Str(text))) => {
            let part = object(vec![("type", string("text")), ("text", string(text))]);
            message.set("content", Json::List(vec![part]));
        }
        _ => {}
    }
}

/// What a system message says goes to the front of the next message.
fn merge_system(messages: &mut Vec<Json>) {
    if !messages.first().is_some_and(|message| is_role(message, "system")) {
        return;
    }
    let system = messages.remove(0);
    let text = |message: &Json| message.get("content").and_then(Json::as_str).map(str::to_owned);
    if let Some(next) = messages.first_mut()
        && let (Some(system), Some(own)) = (text(&system), text(next))
    {
        next.set("content", Json::Str(format!("{system}\n{own}")));
    }
}

/// Arguments of calls as objects.
fn parse_arguments(message: &mut Json, i: usize) -> Result<(), TemplateError> {
    let mut parsed = calls(message).to_vec();
    if parsed.is_empty() {
        return Ok(());
    }
    for call in &mut parsed {
        let Some(mut function) = call.get("function").cloned() else { continue };
        let Some(text) = function.get("arguments").and_then(Json::as_str) else { continue };
        let arguments = crate::json::parse(text).ok_or_else(|| TemplateError::Conversation {
            place: format!("message {}", i + 1),
            problem: "has a tool call whose `arguments` are no JSON".to_owned(),
        })?;
        function.set("arguments", arguments);
        call.set("function", function);
    }
    message.set("tool_calls", Json::List(parsed));
    Ok(())
}

fn into_blocks(message: &mut Json) {
    if !is_role(message, "system") && !is_role(message, "assistant") {
        return;
    }
    let mut blocks = Vec::new();
    if let Some(reasoning @ Json::Str(_)) = message.get("reasoning_content") {
        let reasoning = reasoning.clone();
        blocks.push(object(vec![("type", string("thinking")), ("thinking", reasoning)]));
    }
    match message.get("content") {
        Some(text @ Json::Str(_)) => {
            blocks.push(object(vec![("type", string("text")), ("text", text.clone())]));
        }
        Some(Json::List(parts)) => blocks.extend(parts.iter().cloned()),
        _ => {}
    }
    message.set("content", Json::List(blocks));
    message.remove("reasoning_content");
}

fn into_thinking(message: &mut Json, family: Family) {
    let Some(reasoning @ Json::Str(_)) = message.get("reasoning_content").cloned() else { return };
    message.set("thinking", reasoning);
    if family == Family::GptOss && !calls(message).is_empty() {
        message.remove("content");
    }
}

/// Results that follow one another, in the order of the calls they answer.
fn sort_results(messages: &mut [Json]) {
    let mut order: HashMap<String, usize> = HashMap::new();
    let mut i = 0;
    while let Some(message) = messages.get(i) {
        if is_role(message, "assistant") && !calls(message).is_empty() {
            let ids = calls(message).iter().map(|call| call.get("id").and_then(Json::as_str));
            order = ids.zip(0..).filter_map(|(id, n)| Some((id?.to_owned(), n))).collect();
            i += 1;
            continue;
        }
        let is_turn = |message: &Json| ["user", "tool"].contains(&role(message));
        let n = messages[i..].iter().take_while(|message| is_turn(message)).count();
        let places: Vec<usize> = (i..i + n).filter(|at| is_role(&messages[*at], "tool")).collect();
        let mut results: Vec<Json> = places.iter().map(|at| messages[*at].clone()).collect();
        results.sort_by_key(|result| {
            let id = result.get("tool_call_id").and_then(Json::as_str).unwrap_or_default();
            order.get(id).copied().unwrap_or(0)
        });
        for (place, result) in places.into_iter().zip(results) {
            messages[place] = result;
        }
        i += n.max(1);
    }
}

/// A call, its results and the answer that follows, as one message.
fn with_results(messages: Vec<Json>) -> Vec<Json> {
    let mut out = Vec::new();
    let mut rest = messages.into_iter().peekable();
    while let Some(message) = rest.next() {
        if !is_role(&message, "assistant") || calls(&message).is_empty() {
            out.push(message);
            continue;
        }
        let calls = calls(&message).to_vec();
        let mut results = Vec::new();
        while let Some(result) = rest.next_if(|next| is_role(next, "tool")) {
            results.push(result_of(&result, calls.get(results.len())));
        }
        let is_answer = |next: &Json| {
            let content = next.get("content");
            let empty = match content {
                Some(Json::Str(text)) => text.is_empty(),
                Some(Json::List(parts)) => parts.is_empty(),
                _ => true,
            };
            is_role(next, "assistant") && next.get("tool_calls").is_none() && !empty
        };
        let answer = rest.next_if(is_answer);
        let mut entries = vec![("role", string("assistant")), ("tool_calls", Json::List(calls))];
        if !results.is_empty() {
            entries.push(("tool_responses", Json::List(results)));
        }
        if let Some(content) = answer.as_ref().and_then(|answer| answer.get("content")) {
            entries.push(("content", content.clone()));
        }
        if let Some(reasoning) = message.get("reasoning_content") {
            entries.push(("reasoning_content", reasoning.clone()));
        }
        out.push(object(entries));
    }
    out
}

fn result_of(result: &Json, call: Option<&Json>) -> Json {
    let response = match result.get("content") {
        Some(Json::Str(text)) => crate::json::parse(text).unwrap_or_else(|| string(text)),
        Some(other) => other.clone(),
        None => Json::Null,
    };
    let name = call.and_then(|call| call.get("function")).and_then(|f| f.get("name"));
    let name = name.and_then(Json::as_str).filter(|name| !name.is_empty());
    let id = result.get("tool_call_id").and_then(Json::as_str).unwrap_or_default();
    object(vec![("name", string(name.unwrap_or(id))), ("response", response)])
}
