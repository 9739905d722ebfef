//! Keys such as `expanded_conv-input:56x56x24-output:28x28x40-expand:6-kernel:3-stride:2-idskip:0`.
//!
//! The published once-for-all and ProxylessNAS tables share this grammar: a kind, then `name:value` fields. They differ
//! in what `expand` means, and so in how a key becomes an operator.

use crate::table_op::{TableKind, TableOp};

/// Why a key is no operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unmapped {
    /// Nothing here corresponds to it: it is left out with a note.
    Unknown(String),
    /// It belongs to another format with the same grammar, in which the words mean something else: the file is refused.
    OtherFormat(String),
}

impl From<String> for Unmapped {
    fn from(reason: String) -> Self {
        Unmapped::Unknown(reason)
    }
}

/// A key split into its fields.
pub(super) struct LayerKey<'a> {
    pub(super) kind: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> LayerKey<'a> {
    pub(super) fn new(key: &'a str) -> Self {
        let mut parts = key.split('-');
        let kind = parts.next().unwrap_or_default();
        Self { kind, fields: parts.filter_map(|part| part.split_once(':')).collect() }
    }

    pub(super) fn field(&self, name: &str) -> Result<&'a str, String> {
        let found = self.fields.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| *value).ok_or(format!("the key has no {name}"))
    }

    /// A whole number from 1 to a million.
    pub(super) fn number(&self, name: &str) -> Result<u32, String> {
        let value = self.field(name)?;
        value.parse().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or(format!("{name} is {value:?}"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.field(name)? {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(format!("{name} is {other:?}")),
        }
    }

    /// A 1×1 convolution of the key's input and output shapes, for the reader to adapt.
    pub(super) fn plain(&self) -> Result<TableOp, String> {
        let (in_size, in_channels) = shape(self.field("input")?)?;
        let (out_size, out_channels) = shape(self.field("output")?)?;
        if in_size.max(out_size) > 65_535 || in_channels.max(out_channels) > 1_000_000 {
            return Err("its shape is beyond any network".to_string());
        }
        Ok(TableOp {
            batch_norm: true,
            ..TableOp::plain(TableKind::Conv, in_size, in_channels, out_size, out_channels)
        })
    }
}

/// Height (= width) and channels of `HxWxC`; a bare number is a vector.
fn shape(text: &str) -> Result<(u32, u32), String> {
    let numbers: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([channels]) if *channels > 0 => Ok((1, *channels)),
        Ok([height, width, channels]) if height == width && *height > 0 && *channels > 0 => Ok((*height, *channels)),
        _ => Err(format!("{text:?} is not the shape of a square map")),
    }
}
