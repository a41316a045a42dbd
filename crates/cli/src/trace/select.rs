//! Which nodes a trace holds.
use super::args::TraceArgs;

/// The user's choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection<'a> {
    globs: &'a [String],
    attention: bool,
    pub(super) kv_cache: bool,
    pub(super) rope: bool,
}

impl<'a> Selection<'a> {
    pub(super) fn new(args: &'a TraceArgs) -> Self {
        let on = |flag| flag || args.all;
        Self {
            globs: &args.nodes,
            attention: on(args.attention),
            kv_cache: on(args.kv_cache),
            rope: args.rope,
        }
    }

    /// Every node of the graph, and the cache.
    pub(crate) fn all() -> Self {
        Self { globs: &[], attention: true, kv_cache: true, rope: false }
    }

    /// Whether a node is wanted, by its label and its whole name.
    pub(super) fn wants_node(&self, label: &str, name: &str) -> bool {
        let is_attention = label.starts_with("kq") && label != "kqv_out";
        (self.attention || !is_attention) && self.wants(name)
    }

    /// Whether the globs let a name through.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.globs.is_empty()
            || self.globs.iter().any(|glob| fits(glob.as_bytes(), name.as_bytes()))
    }
}

/// Whether `name` fits `glob`, in which `*` stands for anything and `?` for one byte.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    // Where the last `*` was, and up to where it has eaten: no recursion, at most glob times name steps.
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => {
                let Some((at, eaten)) = star else { return false };
                star = Some((at, eaten + 1));
                (g, n) = (at + 1, eaten + 1);
            }
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn globs() {
        let fits = |glob: &str, name: &str| fits(glob.as_bytes(), name.as_bytes());
        for (glob, name) in
            [("l_out-*", "l_out-12"), ("*", ""), ("*cur-?", "Qcur-0"), ("a*b*c", "abxbc"), ("", "")]
        {
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in
            [("l_out-*", "ffn_out-1"), ("?", ""), ("Qcur-?", "Qcur-10"), ("a*b", "abc"), ("", "a")]
        {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }
}
