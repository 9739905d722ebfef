//! Ceilings.

use hw_targets::budget::Budget;
use network::units::{Joules, Macs};
use storage::failure::Failure;

#[test]
fn a_ceiling_that_nothing_meets_is_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Budget::new(Some(Joules(bad)), None, None, None).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2, "{error}");
    }
    assert!(Budget::new(None, None, Some(Macs(0)), None).is_err());
    assert!(Budget::new(None, None, None, None).unwrap().is_empty());
}
