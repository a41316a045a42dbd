//! Conversations to prompts: the Jinja templates that models carry, in llama.cpp's dialect.
//!
//! Knows nothing of models or files: a template's text, the texts of BOS and EOS, messages and tools go in; a prompt
//! comes out, byte-identical to llama.cpp's, with marks on what the conversation brought in, so that a tokenizer
//! takes special tokens only where the template wrote them.
//!
//! A template comes out of a file that anybody may have written. It can reach nothing but its arguments, and it has
//! a budget: of steps, of bytes, of depth, of output. Whatever it does, the outcome is a prompt or a typed error.
//!
//! ```
//! use chat_template::{Conversation, Options, Template};
//! let template = Template::new(
//!     "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}\
//!      {% if add_generation_prompt %}<|assistant|>{% endif %}",
//! )?;
//! let mut conversation = Conversation::default();
//! conversation.push("user", "Hi <|end|>");
//! let prompt = template.render(&conversation, &Options::default())?;
//! assert_eq!(prompt.text, "<|user|>Hi <|end|>\n<|assistant|>");
//! assert_eq!(prompt.input, [2..6, 8..18]);
//! # Ok::<(), chat_template::TemplateError>(())
//! ```
#![forbid(unsafe_code)]

mod ast;
mod budget;
mod calls;
mod caps;
mod conversation;
mod error;
mod eval;
mod json;
mod lexer;
mod lists;
mod maps;
mod ops;
mod parser;
mod quirks;
mod strings;
mod template;
mod text;
mod value;

pub use caps::Caps;
pub use chrono::NaiveDateTime;
pub use conversation::Conversation;
pub use error::TemplateError;
pub use json::Json;
pub use template::{Options, Prompt, Template};
