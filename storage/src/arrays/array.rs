//! A dense array in host memory: what every tensor file holds, whatever library wrote it.

use std::fmt;

/// Element type of a [`HostArray`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of a 32-bit float.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::Bf16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::F16 => "float16",
            DType::Bf16 => "bfloat16",
            DType::I64 => "int64",
            DType::I32 => "int32",
            DType::I16 => "int16",
            DType::I8 => "int8",
            DType::U8 => "uint8",
            DType::Bool => "bool",
        })
    }
}

/// A dense array: row-major (last dimension fastest), elements little-endian.
#[derive(Clone, PartialEq, Eq)]
pub struct HostArray {
    shape: Vec<usize>,
    dtype: DType,
    data: Vec<u8>,
}

impl fmt::Debug for HostArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

impl HostArray {
    /// An array over the bytes `data`.
    ///
    /// # Panics
    /// If `data` is not as long as `shape` and `dtype` say: a bug of the caller.
    pub fn new(shape: Vec<usize>, dtype: DType, data: Vec<u8>) -> HostArray {
        assert_eq!(byte_len(&shape, dtype), Some(data.len()), "bytes of a {dtype} array of shape {shape:?}");
        HostArray { shape, dtype, data }
    }

    /// A float32 array.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> HostArray {
        HostArray::new(shape.to_vec(), DType::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A float64 array.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`.
    pub fn from_f64(shape: &[usize], values: &[f64]) -> HostArray {
        HostArray::new(shape.to_vec(), DType::F64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// An int64 array.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> HostArray {
        HostArray::new(shape.to_vec(), DType::I64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Sizes, slowest dimension first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements' bytes, little-endian.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// The elements as float32: floats of another width are rounded to nearest, int64 and the like are `None`.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.dtype {
            DType::F32 => Some(self.elements(f32::from_le_bytes)),
            DType::F64 => Some(self.elements(|bytes| f64::from_le_bytes(bytes) as f32)),
            DType::F16 => Some(self.elements(|bytes| half_to_f32(u16::from_le_bytes(bytes)))),
            DType::Bf16 => Some(self.elements(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))),
            _ => None,
        }
    }

    fn elements<const N: usize, T>(&self, from_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (elements, _) = self.data.as_chunks::<N>();
        elements.iter().map(|bytes| from_bytes(*bytes)).collect()
    }
}

/// Bytes of an array, or `None` where the sizes or their product do not fit signed numbers, which every library counts
/// elements with; a size of 0 counts as 1 there, as in NumPy, since the strides are products of the others.
pub fn byte_len(shape: &[usize], dtype: DType) -> Option<usize> {
    let strides = shape.iter().try_fold(dtype.size(), |bytes, &size| bytes.checked_mul(size.max(1)))?;
    let bytes = isize::try_from(strides).ok()?.cast_unsigned();
    Some(if shape.contains(&0) { 0 } else { bytes })
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        normal => sign * (1.0 + fraction / 1024.0) * 2f32.powi(normal - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_floats_widen_exactly() {
        // 1, −2, the largest half, the smallest half, infinity.
        let half = [0x3c00u16, 0xc000, 0x7bff, 0x0001, 0x7c00];
        let array = HostArray::new(vec![5], DType::F16, half.iter().flat_map(|bits| bits.to_le_bytes()).collect());
        assert_eq!(array.to_f32().unwrap(), [1.0, -2.0, 65504.0, 2f32.powi(-24), f32::INFINITY]);
        let brain = HostArray::new(vec![2], DType::Bf16, vec![0x80, 0x3f, 0x00, 0xc0]);
        assert_eq!(brain.to_f32().unwrap(), [1.0, -2.0]);
        assert!(HostArray::new(vec![1], DType::F16, vec![1, 0x7c]).to_f32().unwrap()[0].is_nan());
    }

    #[test]
    fn integers_are_not_taken_for_floats() {
        assert_eq!(HostArray::from_i64(&[2], &[-1, 7]).to_f32(), None);
    }

    #[test]
    fn sizes_that_overflow_are_no_size() {
        assert_eq!(byte_len(&[usize::MAX, 2], DType::F32), None);
        assert_eq!(byte_len(&[0, 1 << 63], DType::U8), None);
        assert_eq!(byte_len(&[1 << 63], DType::U8), None);
        assert_eq!(byte_len(&[3, 0, 2], DType::F32), Some(0));
        assert_eq!(byte_len(&[], DType::F64), Some(8));
    }
}
