//! The machine itself: a stack, its marks, a memo, and one arm for each opcode.

use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;

use super::{Class, Node, Pickle, StorageRef, TensorRef, Value};
use storage::arrays::{END, Fault};

/// Values on the stack at once; a network of a thousand tensors needs a few thousand.
const MAX_STACK: usize = 1 << 20;
/// Containers and tensors of one pickle.
const MAX_NODES: usize = 1 << 22;
/// Dimensions of one tensor, as in PyTorch.
const MAX_DIMENSIONS: usize = 64;
/// Bytes of one name of a Python class.
const MAX_NAME: usize = 512;

impl Pickle {
    /// Reads one pickle, up to and including its STOP; `part` names it in messages, `limit` is the number of bytes there.
    pub(in crate::import) fn read(reader: impl Read, part: &str, limit: u64) -> Result<Pickle, Fault> {
        let mut machine = Machine {
            input: Input { reader, part, left: limit },
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            copied: 0,
        };
        let root = machine.run()?;
        Ok(Pickle { nodes: machine.nodes, root })
    }
}

struct Input<'a, R> {
    reader: R,
    part: &'a str,
    left: u64,
}

impl<R: Read> Input<'_, R> {
    fn fault(&self, expected: &str, found: impl std::fmt::Display) -> Fault {
        Fault::content(self.part, expected, found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.left = self.left.checked_sub(N as u64).ok_or_else(|| self.fault("a whole pickle", END))?;
        self.reader.read_exact(&mut bytes).map_err(|error| Fault::read(error, self.part, "a whole pickle"))?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// `length` bytes; allocated only once they are known to be there.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Fault> {
        if length > self.left {
            return Err(self.fault(&format!("a string of {length} bytes"), END));
        }
        self.left -= length;
        let mut bytes = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(Fault::Io)?;
        if bytes.len() as u64 != length {
            return Err(self.fault(&format!("a string of {length} bytes"), END));
        }
        Ok(bytes)
    }

    fn string(&mut self, length: u64) -> Result<Rc<str>, Fault> {
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map(Rc::from).map_err(|_| self.fault("a UTF-8 string", "other bytes"))
    }

    fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                _ if line.len() == MAX_NAME => return Err(self.fault("the name of a class", "a longer line")),
                byte => line.push(byte),
            }
        }
        String::from_utf8(line).map_err(|_| self.fault("the name of a class", "other bytes"))
    }
}

struct Machine<'a, R> {
    input: Input<'a, R>,
    stack: Vec<Value>,
    /// Stack heights where MARKs stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    /// Values copied out of remembered lists, the one way to grow faster than the file.
    copied: usize,
}

impl<R: Read> Machine<'_, R> {
    fn run(&mut self) -> Result<Value, Fault> {
        loop {
            match self.input.byte()? {
                // PROTO, FRAME: the opcodes themselves say what follows.
                0x80 => self.protocol()?,
                0x95 => drop(self.input.array::<8>()?),
                b'.' => return self.pop(),
                b'(' if self.marks.len() < MAX_STACK => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?.clone();
                    self.push(top)?;
                }
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'J' => {
                    let number = i32::from_le_bytes(self.input.array()?);
                    self.push(Value::Int(number.into()))?;
                }
                b'K' => {
                    let number = self.input.byte()?;
                    self.push(Value::Int(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.input.array()?);
                    self.push(Value::Int(number.into()))?;
                }
                0x8a => {
                    let length = self.input.byte()?;
                    self.long(length.into())?;
                }
                0x8b => {
                    let length = u32::from_le_bytes(self.input.array()?);
                    self.long(length.into())?;
                }
                b'G' => {
                    self.input.array::<8>()?;
                    self.push(Value::Float)?;
                }
                // SHORT_BINSTRING, BINSTRING (Python 2), then the three lengths of unicode strings.
                b'U' | 0x8c => {
                    let length = self.input.byte()?;
                    self.string(length.into())?;
                }
                b'T' | b'X' => {
                    let length = u32::from_le_bytes(self.input.array()?);
                    self.string(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.input.array()?);
                    self.string(length)?;
                }
                b']' => self.push_node(Node::List(Vec::new()))?,
                b'}' => self.push_node(Node::Dict(Vec::new()))?,
                b')' => self.push_node(Node::Tuple(Vec::new()))?,
                b'l' => {
                    let items = self.pop_mark()?;
                    self.push_node(Node::List(items))?;
                }
                b't' => {
                    let items = self.pop_mark()?;
                    self.push_node(Node::Tuple(items))?;
                }
                b'd' => {
                    let pairs = self.pop_mark()?;
                    self.push_node(Node::Dict(Vec::new()))?;
                    self.set_items(pairs)?;
                }
                length @ 0x85..=0x87 => {
                    let start = self.stack.len().checked_sub(usize::from(length - 0x84));
                    let start = start.filter(|start| *start >= self.floor());
                    let items = self.stack.split_off(start.ok_or_else(|| self.underflow())?);
                    self.push_node(Node::Tuple(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let pairs = self.pop_mark()?;
                    self.set_items(pairs)?;
                }
                b'q' => {
                    let index = self.input.byte()?;
                    self.memoize(index.into())?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.input.array()?);
                    self.memoize(index)?;
                }
                0x94 => self.memoize(self.memo.len() as u32)?,
                b'h' => {
                    let index = self.input.byte()?;
                    self.recall(index.into())?;
                }
                b'j' => {
                    let index = u32::from_le_bytes(self.input.array()?);
                    self.recall(index)?;
                }
                b'c' => {
                    let (module, name) = (self.input.line()?, self.input.line()?);
                    self.push(Value::Class(Class::find(&module, &name)?))?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Str(module), Value::Str(name)) = (&module, &name) else {
                        return Err(self.input.fault("the name of a class", name.name()));
                    };
                    let class = Class::find(module, name)?;
                    self.push(Value::Class(class))?;
                }
                b'Q' => self.persistent_id()?,
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                opcode => {
                    let found = format!("opcode {opcode:#04x} ({:?})", char::from(opcode));
                    return Err(self.input.fault("an opcode that PyTorch writes", found));
                }
            }
        }
    }

    fn protocol(&mut self) -> Result<(), Fault> {
        match self.input.byte()? {
            2..=5 => Ok(()),
            other => Err(self.input.fault("pickle protocol 2 to 5", other)),
        }
    }

    fn long(&mut self, length: u64) -> Result<(), Fault> {
        let bytes = self.input.bytes(length)?;
        if bytes.len() > 16 {
            return Err(self.input.fault("an integer of at most 16 bytes", format!("one of {length}")));
        }
        // Two's complement, little-endian, so the last byte carries the sign.
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 16];
        wide[..bytes.len()].copy_from_slice(&bytes);
        self.push(Value::Int(i128::from_le_bytes(wide)))
    }

    fn string(&mut self, length: u64) -> Result<(), Fault> {
        let string = self.input.string(length)?;
        self.push(Value::Str(string))
    }

    fn underflow(&self) -> Fault {
        self.input.fault("a value on the pickle's stack", "none")
    }

    /// Height below which nothing may be taken: the last MARK.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        if self.stack.len() == MAX_STACK {
            return Err(self.input.fault(&format!("at most {MAX_STACK} values on the pickle's stack"), "more"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), Fault> {
        let index = self.nodes.len();
        if index == MAX_NODES {
            return Err(self.input.fault(&format!("at most {MAX_NODES} objects"), "more"));
        }
        let value = match node {
            Node::List(_) => Value::List(index),
            Node::Tuple(_) => Value::Tuple(index),
            Node::Dict(_) => Value::Dict(index),
            Node::Tensor(_) => Value::Tensor(index),
            Node::Storage(_) => Value::Storage(index),
        };
        self.nodes.push(node);
        self.push(value)
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        if self.stack.len() <= self.floor() {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Fault> {
        let mark = self.marks.pop().ok_or_else(|| self.input.fault("a mark on the pickle's stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<&Value, Fault> {
        self.stack.last().ok_or_else(|| self.underflow())
    }

    fn memoize(&mut self, index: u32) -> Result<(), Fault> {
        let top = self.top()?.clone();
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), Fault> {
        let value = self.memo.get(&index).cloned();
        let value = value.ok_or_else(|| self.input.fault("a remembered value", format!("none at {index}")))?;
        self.push(value)
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), Fault> {
        let top = self.top()?.clone();
        match &top {
            Value::List(index) => {
                if let Node::List(list) = &mut self.nodes[*index] {
                    list.extend(items);
                }
                Ok(())
            }
            other => Err(self.input.fault("a list to append to", other.name())),
        }
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), Fault> {
        let top = self.top()?.clone();
        let Value::Dict(index) = top else {
            return Err(self.input.fault("a dictionary to fill", top.name()));
        };
        if !items.len().is_multiple_of(2) {
            return Err(self.input.fault("pairs of key and value", "an odd number of them"));
        }
        if let Node::Dict(dict) = &mut self.nodes[index] {
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                dict.push((key, value));
            }
        }
        Ok(())
    }

    fn tuple(&self, value: &Value, expected: &str) -> Result<&[Value], Fault> {
        match value {
            Value::Tuple(index) | Value::List(index) => match &self.nodes[*index] {
                Node::Tuple(items) | Node::List(items) => Ok(items),
                _ => Err(self.input.fault(expected, "another object")),
            },
            other => Err(self.input.fault(expected, other.name())),
        }
    }

    fn size(&self, value: &Value, expected: &str) -> Result<usize, Fault> {
        match value {
            Value::Int(number) => usize::try_from(*number).map_err(|_| self.input.fault(expected, number)),
            other => Err(self.input.fault(expected, other.name())),
        }
    }

    fn sizes(&self, value: &Value, expected: &str) -> Result<Vec<usize>, Fault> {
        let sizes = self.tuple(value, expected)?;
        if sizes.len() > MAX_DIMENSIONS {
            return Err(self.input.fault(expected, format!("{} dimensions", sizes.len())));
        }
        sizes.iter().map(|item| self.size(item, expected)).collect()
    }

    fn key(&self, value: &Value) -> Result<Rc<str>, Fault> {
        match value {
            Value::Str(key) => Ok(key.clone()),
            Value::Int(number) => Ok(number.to_string().into()),
            other => Err(self.input.fault("the key of a storage", other.name())),
        }
    }

    /// `("storage", class, key, device, elements)`, in legacy containers followed by None or a view of another storage.
    fn persistent_id(&mut self) -> Result<(), Fault> {
        const EXPECTED: &str = "a persistent id (\"storage\", class, key, device, elements)";
        let id = self.pop()?;
        let storage = match self.tuple(&id, EXPECTED)? {
            [Value::Str(kind), Value::Class(Class::Storage(dtype)), key, _device, numel, rest @ ..]
                if &**kind == "storage" =>
            {
                let view = match rest {
                    [] | [Value::None] => None,
                    [view] => match self.tuple(view, "a view (key, offset, elements)")? {
                        [_, offset, length] => {
                            Some((self.size(offset, "the offset of a view")?, self.size(length, "its elements")?))
                        }
                        _ => return Err(self.input.fault("a view (key, offset, elements)", "another tuple")),
                    },
                    _ => return Err(self.input.fault(EXPECTED, "a longer tuple")),
                };
                let numel = self.size(numel, "the number of elements of a storage")?;
                StorageRef { key: self.key(key)?, dtype: *dtype, numel, view }
            }
            _ => return Err(self.input.fault(EXPECTED, "another tuple")),
        };
        self.push_node(Node::Storage(storage))
    }

    /// Calls one of the known functions: an ordered dictionary, or a tensor over a storage.
    fn reduce(&mut self) -> Result<(), Fault> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Class(class) = function else {
            return Err(self.input.fault("a class to call", function.name()));
        };
        let arguments = self.tuple(&arguments, "a tuple of arguments")?;
        match (class, arguments) {
            (Class::OrderedDict, []) => self.push_node(Node::Dict(Vec::new())),
            // Python 2 passes the pairs as a list of two-element lists.
            (Class::OrderedDict, [pairs]) => {
                let pairs = self.tuple(pairs, "a list of pairs")?;
                if self.copied + pairs.len() > MAX_NODES {
                    return Err(self.input.fault(&format!("at most {MAX_NODES} objects"), "more"));
                }
                let pairs = pairs.to_vec();
                self.copied += pairs.len();
                let mut dict = Vec::with_capacity(pairs.len());
                for pair in &pairs {
                    match self.tuple(pair, "a pair")? {
                        [key, value] => dict.push((key.clone(), value.clone())),
                        _ => return Err(self.input.fault("a pair", "another number of values")),
                    }
                }
                self.push_node(Node::Dict(dict))
            }
            (Class::RebuildTensor | Class::RebuildTensorV2, [Value::Storage(index), offset, shape, strides, ..]) => {
                let Node::Storage(storage) = &self.nodes[*index] else {
                    return Err(self.input.fault("the storage of a tensor", "another object"));
                };
                let tensor = TensorRef {
                    storage: storage.clone(),
                    offset: self.size(offset, "the offset of a tensor")?,
                    shape: self.sizes(shape, "the shape of a tensor")?,
                    strides: self.sizes(strides, "the strides of a tensor")?,
                };
                self.push_node(Node::Tensor(tensor))
            }
            (Class::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                let tensor = tensor.clone();
                self.push(tensor)
            }
            (class, _) => Err(self.input.fault(&format!("arguments of {class:?}"), "others")),
        }
    }

    /// Sets attributes; those of an ordered dictionary (`_metadata`, versions of layers) are of no interest.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            other => Err(self.input.fault("a dictionary with attributes", other.name())),
        }
    }
}
