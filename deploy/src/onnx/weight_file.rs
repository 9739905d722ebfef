//! A file of weights beside graphs that take parts of its tensors (ONNX external data).

use std::collections::HashMap;

use super::file::{External, Graph};

/// Where tensors begin in the file: at multiples of so many bytes.
const ALIGNMENT: usize = 64;

/// The file under construction.
pub(super) struct WeightFile<'f> {
    name: &'f str,
    pub(super) bytes: Vec<u8>,
    /// Where each of the tensors that somebody takes begins.
    offsets: HashMap<usize, usize>,
}

/// A tensor of the file.
pub(super) struct Tensor<'t> {
    /// Its number among all.
    pub(super) at: usize,
    pub(super) shape: &'t [usize],
    /// Whether it is in int8 and not in float32.
    pub(super) is_int8: bool,
}

impl<'f> WeightFile<'f> {
    /// A file that graphs will know as `name`.
    pub(super) fn new(name: &'f str) -> Self {
        WeightFile { name, bytes: Vec::new(), offsets: HashMap::new() }
    }

    /// The first rows and columns of `tensor`, `part` being their shape, as a value of `graph`; `known` are the tensors that
    /// the graph has seen, `numbers` all bytes of this one.
    pub(super) fn part(
        &mut self,
        graph: &mut Graph,
        known: &mut HashMap<usize, String>,
        tensor: &Tensor<'_>,
        numbers: impl FnOnce() -> Vec<u8>,
        name: &str,
        part: &[usize],
    ) -> String {
        let Tensor { at, shape, is_int8 } = *tensor;
        let offset = *self.offsets.entry(at).or_insert_with(|| {
            self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
            let offset = self.bytes.len();
            self.bytes.extend(numbers());
            offset
        });
        let whole = known.entry(at).or_insert_with(|| {
            graph.external(format!("shared.{at}"), shape, External { file: self.name, offset, is_int8 })
        });
        match shape == part {
            true => whole.clone(),
            false => sliced(graph, name, whole, part),
        }
    }
}

/// The first rows and columns of the value `whole`.
fn sliced(graph: &mut Graph, name: &str, whole: &str, shape: &[usize]) -> String {
    let ends = [shape[0] as i64, shape[1] as i64];
    let [starts, ends, axes] = [("starts", [0, 0]), ("ends", ends), ("axes", [0, 1])]
        .map(|(part, values)| graph.integers(format!("{name}.{part}"), &values));
    graph.node(name.to_owned(), "Slice", &[whole, &starts, &ends, &axes], Vec::new())
}
