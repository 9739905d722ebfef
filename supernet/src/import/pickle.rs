//! A pickle machine that only ever builds containers, numbers, strings and references to tensors.
//!
//! Follows the opcodes that PyTorch writes (Python's pickle protocols 2 to 5). Of Python's classes it knows
//! `OrderedDict`, PyTorch's storage classes and the three functions that rebuild tensors, each as a name with a fixed
//! meaning; any other name is refused, so nothing a file asks for is ever executed.
//!
//! Containers live in one arena and values are indices into it: a hostile file cannot make a value that is deep to drop,
//! or make the machine copy more than the file itself is long.

mod machine;

use std::rc::Rc;

use storage::arrays::{DType, Fault};

/// A value; containers are indices into [`Pickle::nodes`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    /// The number itself interests nobody: weights are in storages.
    Float,
    Str(Rc<str>),
    Class(Class),
    List(usize),
    Tuple(usize),
    Dict(usize),
    Tensor(usize),
    Storage(usize),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float => "a float",
            Value::Str(_) => "a string",
            Value::Class(_) => "a class",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dictionary",
            Value::Tensor(_) => "a tensor",
            Value::Storage(_) => "a storage",
        }
    }
}

/// The Python names that may appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    Storage(DType),
}

impl Class {
    fn find(module: &str, name: &str) -> Result<Class, Fault> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Class::OrderedDict,
            ("torch._utils", "_rebuild_tensor") => Class::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Class::RebuildTensorV2,
            ("torch._utils", "_rebuild_parameter") => Class::RebuildParameter,
            ("torch", "FloatStorage") => Class::Storage(DType::F32),
            ("torch", "DoubleStorage") => Class::Storage(DType::F64),
            ("torch", "HalfStorage") => Class::Storage(DType::F16),
            ("torch", "BFloat16Storage") => Class::Storage(DType::Bf16),
            ("torch", "LongStorage") => Class::Storage(DType::I64),
            ("torch", "IntStorage") => Class::Storage(DType::I32),
            ("torch", "ShortStorage") => Class::Storage(DType::I16),
            ("torch", "CharStorage") => Class::Storage(DType::I8),
            ("torch", "ByteStorage") => Class::Storage(DType::U8),
            ("torch", "BoolStorage") => Class::Storage(DType::Bool),
            _ => return Err(Fault::Refused(format!("{module}.{name}"))),
        })
    }
}

/// What an index points to.
#[derive(Debug)]
pub(super) enum Node {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// Pairs in file order; a repeated key is kept twice.
    Dict(Vec<(Value, Value)>),
    Tensor(TensorRef),
    Storage(StorageRef),
}

/// A tensor as strides over a storage, in elements; not yet checked against it.
#[derive(Clone, Debug)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A storage by its key in the container.
#[derive(Clone, Debug)]
pub(super) struct StorageRef {
    pub(super) key: Rc<str>,
    pub(super) dtype: DType,
    /// Elements of the whole storage in the file.
    pub(super) numel: usize,
    /// First element and number of elements of the part that tensors see (legacy containers only).
    pub(super) view: Option<(usize, usize)>,
}

/// One unpickled object.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Value,
}

#[cfg(test)]
mod tests;
