//! Results for programs that show runs beside each other, as folders that these read: nothing is sent anywhere, and none of
//! them has to be installed.
//!
//! [`run`] says what a run is here, [`folder`] and [`sweep`] make runs of results, [`mlflow`] and [`trackio`] write them.

pub mod folder;
pub(crate) mod key;
pub mod mlflow;
pub mod run;
pub mod sweep;
pub mod trackio;
