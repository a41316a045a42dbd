//! One side of a divergence: the nodes around it, by what they are.

use crate::TraceError;
use crate::reader::{Node, TraceFile};

/// A tensor as rows.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) x: Vec<f64>,
    pub(crate) n_cols: usize,
}

impl Rows {
    pub(crate) fn n_rows(&self) -> usize {
        self.x.len() / self.n_cols.max(1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.x.chunks_exact(self.n_cols.max(1))
    }

    /// The last `n` rows.
    pub(crate) fn last(mut self, n: usize) -> Self {
        let skip = self.n_rows().saturating_sub(n) * self.n_cols;
        self.x.drain(..skip);
        self
    }
}

/// A side at one evaluation and layer.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) file: &'a TraceFile,
    pub(crate) eval: usize,
    pub(crate) il: Option<usize>,
}

/// What a law finds out about one side, or that it lacks the nodes to tell.
pub(crate) type Found<T> = Result<Option<T>, TraceError>;

impl View<'_> {
    /// The tokens of the evaluation.
    pub(crate) fn n_tokens(&self) -> usize {
        self.file.info().evals[self.eval].tokens.len()
    }

    /// The positions before the evaluation.
    pub(crate) fn n_past(&self) -> usize {
        self.file.info().evals[self.eval].n_past
    }

    /// A node's values, a row a token where it has so many.
    pub(crate) fn node(&self, name: &str, occurrence: usize) -> Found<Rows> {
        self.rows(self.file.node(self.eval, name, occurrence))
    }

    /// The last node of that name.
    pub(crate) fn last_of(&self, name: &str) -> Found<Rows> {
        self.rows(self.find_last(self.eval, name))
    }

    /// The node before the last of that name.
    pub(crate) fn before_last_of(&self, name: &str) -> Found<Rows> {
        let Some(last) = self.find_last(self.eval, name) else { return Ok(None) };
        let Some(before) = last.occurrence.checked_sub(1) else { return Ok(None) };
        self.node(name, before)
    }

    fn find_last(&self, eval: usize, name: &str) -> Option<&Node> {
        let all = (0..).map_while(|occurrence| self.file.node(eval, name, occurrence));
        all.last()
    }

    fn rows(&self, node: Option<&Node>) -> Found<Rows> {
        let Some(node) = node else { return Ok(None) };
        let x = self.file.values(node)?;
        Ok(Some(Rows { n_cols: node.shape.last().copied().unwrap_or(1).max(1), x }))
    }

    /// `Qcur` of this layer.
    pub(crate) fn name(&self, label: &str) -> String {
        self.il.map_or_else(|| label.to_owned(), |il| format!("{label}-{il}"))
    }

    /// The residual stream that enters this layer, or behind the last layer if this belongs to none.
    pub(crate) fn stream(&self) -> Found<Rows> {
        match self.il {
            Some(0) => {
                for name in ["inp_scaled", "inp_embd", "embd"] {
                    if let Some(rows) = self.last_of(name)? {
                        return Ok(Some(rows));
                    }
                }
                Ok(None)
            }
            Some(il) => self.last_of(&format!("l_out-{}", il - 1)),
            None => {
                let is_last = |n: &&Node| n.eval == self.eval && n.label() == "l_out";
                self.rows(self.file.nodes().iter().rfind(is_last))
            }
        }
    }

    /// K and V rows by position as the graph made them up to this evaluation, the newest of each position first:
    /// `by_position[pos][0]` is the newest.
    pub(crate) fn history(
        &self,
        label: &str,
        n_embd_kv: usize,
    ) -> Result<Vec<Vec<Vec<f64>>>, TraceError> {
        let mut by_position: Vec<Vec<Vec<f64>>> = Vec::new();
        for eval in 0..=self.eval {
            let n_past = self.file.info().evals[eval].n_past;
            let Some(node) = self.find_last(eval, &self.name(label)) else { continue };
            for (i, row) in self.file.values(node)?.chunks_exact(n_embd_kv.max(1)).enumerate() {
                let pos = n_past + i;
                if by_position.len() <= pos {
                    by_position.resize(pos + 1, Vec::new());
                }
                by_position[pos].insert(0, row.to_vec());
            }
        }
        Ok(by_position)
    }
}
