//! PyTorch's store over TCP: texts under names that all processes of a group read and write.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use super::call::{free, message};

// SAFETY: the signatures are those of `native/api.cpp`.
unsafe extern "C" {
    fn ofa_open_store(out: *mut *mut c_void, host: *const c_char, port: u16, serves: bool, seconds: i64)
    -> *mut c_char;
    fn ofa_close_store(store: *mut c_void);
    fn ofa_store_set(store: *mut c_void, key: *const c_char, value: *const c_char) -> *mut c_char;
    fn ofa_store_get(out: *mut *mut c_char, store: *mut c_void, key: *const c_char) -> *mut c_char;
}

/// A connection to a store, and the store itself in the process that serves it.
pub(crate) struct Store(*mut c_void);

impl Store {
    /// The store at `host`:`port`, of which one process is to be the server; waits for others at most `patience`.
    ///
    /// # Errors
    /// What LibTorch says: no such host, a port in use, nobody there.
    pub(crate) fn open(host: &str, port: u16, serves: bool, patience: Duration) -> Result<Store, String> {
        let host = text(host)?;
        let mut store = ptr::null_mut();
        let seconds = patience.as_secs().max(1).cast_signed();
        // SAFETY: `host` outlives the call.
        said(unsafe { ofa_open_store(&mut store, host.as_ptr(), port, serves, seconds) })?;
        Ok(Store(store))
    }

    /// Puts `value` under `key`.
    ///
    /// # Errors
    /// What LibTorch says.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: the store is open, both texts outlive the call.
        said(unsafe { ofa_store_set(self.0, key.as_ptr(), value.as_ptr()) })
    }

    /// What is under `key`, once somebody has put it there.
    ///
    /// # Errors
    /// What LibTorch says, as when nobody did in time.
    pub(crate) fn get(&self, key: &str) -> Result<String, String> {
        let key = text(key)?;
        let mut value = ptr::null_mut();
        // SAFETY: the store is open; the value is a C string that is ours to free, once.
        unsafe {
            said(ofa_store_get(&mut value, self.0, key.as_ptr()))?;
            let found = CStr::from_ptr(value).to_string_lossy().into_owned();
            free(value);
            Ok(found)
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { ofa_close_store(self.0) }
    }
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"))
}

/// The first line of what a failed call says; the rest is for those who debug LibTorch.
fn said(answer: *mut c_char) -> Result<(), String> {
    message(answer).map_or(Ok(()), |text| Err(text.lines().next().unwrap_or_default().to_owned()))
}
