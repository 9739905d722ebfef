//! How a layer is laid out on the array.
//!
//! Chen, Emer & Sze (ISCA 2016, Section V) and the chip (JSSC 2017, Section III). A set of `R` × `e` PEs computes `e`
//! rows of output with filters of `R` rows; `r` × `t` sets work at once. One processing pass covers `q·r` channels,
//! `p·t` filters, `n` images and a strip of `e` rows; the strip's partial sums of `m` filters stay in the global
//! buffer.

/// Parameters of the row-stationary dataflow, with the letters of the papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// `n`: images of a pass.
    pub images: u64,
    /// `e`: rows of output in a strip.
    pub rows: u64,
    /// `p`: filters interleaved in a PE.
    pub filters: u64,
    /// `q`: channels interleaved in a PE.
    pub channels: u64,
    /// `r`: sets on different channels.
    pub channel_sets: u64,
    /// `t`: sets on different filters.
    pub filter_sets: u64,
    /// `m`: filters whose partial sums stay in the global buffer.
    pub resident_filters: u64,
}

impl Mapping {
    /// Each letter of the papers with its value.
    pub fn letters(&self) -> [(&'static str, u64); 7] {
        [
            ("n", self.images),
            ("e", self.rows),
            ("p", self.filters),
            ("q", self.channels),
            ("r", self.channel_sets),
            ("t", self.filter_sets),
            ("m", self.resident_filters),
        ]
    }
}
