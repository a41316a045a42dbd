//! Looking inside: every node of the graph goes past a [`Trace`], in llama.cpp's order and with its names.

/// A node's values, row-major, innermost dimension last.
#[derive(Debug, Clone, Copy)]
pub enum NodeData<'a> {
    /// What `Fast` and `Reference` compute.
    F32(&'a [f32]),
    /// What `Oracle` computes.
    F64(&'a [f64]),
}

/// A node's identity. Names repeat within an evaluation (`Qcur` after the matmul, the bias and the rotation):
/// operation, name and occurrence together are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeName {
    /// ggml's name of the operation (`"MUL_MAT"`).
    pub op: &'static str,
    /// llama.cpp's label (`"Qcur"`); `"node"` where it gives none.
    pub label: &'static str,
    /// The layer, `None` for what belongs to none.
    pub il: Option<usize>,
}

impl std::fmt::Display for NodeName {
    /// As llama.cpp writes it: `Qcur-0`, `Vcur-0 (cont)`, `result_norm`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.il {
            Some(il) => match self.label.split_once(' ') {
                Some((label, note)) => write!(f, "{label}-{il} {note}"),
                None => write!(f, "{}-{il}", self.label),
            },
            None => f.write_str(self.label),
        }
    }
}

/// Receives nodes. Tracing never changes a bit of the result.
pub trait Trace {
    /// One node; `shape` is outermost first.
    fn node(&mut self, name: NodeName, shape: &[usize], data: NodeData<'_>);

    /// Whether nodes may be left out that nobody sees when nothing is traced, because several are computed as one. That
    /// has the name of the product in it.
    fn fused(&self) -> bool {
        false
    }

    /// Whether the rotations of the batch's positions are wanted as well, which are no nodes of llama.cpp's graph:
    /// `rope_table`, and `rope_table_swa` where layers with a window have another one, `[n_tokens, n_rot]`.
    fn rope_tables(&self) -> bool {
        false
    }
}

/// The forward pass's end of a trace: does nothing, at no cost, when nobody listens.
pub(crate) struct Tracer<'a> {
    sink: Option<&'a mut (dyn Trace + 'a)>,
}

impl<'a> Tracer<'a> {
    pub(crate) fn new(sink: Option<&'a mut (dyn Trace + 'a)>) -> Self {
        Self { sink }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether every node has to appear.
    pub(crate) fn sees_all(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| !sink.fused())
    }

    /// Whether [`Trace::rope_tables`] are wanted.
    pub(crate) fn wants_rope_tables(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.rope_tables())
    }

    /// Hands a node over. `n` is the size of the innermost dimensions, outermost first; the remaining one is
    /// what is left of `data`.
    pub(crate) fn node<R: Traced>(
        &mut self,
        op: &'static str,
        label: &'static str,
        il: Option<usize>,
        n: &[usize],
        data: &[R],
    ) {
        if let Some(sink) = &mut self.sink {
            // llama.cpp numbers what it does not name, whatever the layer.
            let il = il.filter(|_| label != "node");
            let inner: usize = n.iter().product();
            let mut shape = [0; 4];
            shape[0] = data.len() / inner;
            shape[1..=n.len()].copy_from_slice(n);
            sink.node(NodeName { op, label, il }, &shape[..=n.len()], R::data(data));
        }
    }
}

/// Element types that can be traced.
pub(crate) trait Traced: Sized {
    fn data(values: &[Self]) -> NodeData<'_>;
}

impl Traced for f32 {
    fn data(values: &[Self]) -> NodeData<'_> {
        NodeData::F32(values)
    }
}

impl Traced for f64 {
    fn data(values: &[Self]) -> NodeData<'_> {
        NodeData::F64(values)
    }
}
