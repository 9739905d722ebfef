//! Ctrl-C: the first asks the work to save and stop, the second ends the process. Ctrl-Z, for who has processes of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Exit code of what was stopped on request.
pub(crate) const INTERRUPTED: u8 = 130;

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The flag that Ctrl-C (or a request to terminate) sets from now on.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let flag = STOP.get_or_init(|| Arc::new(AtomicBool::new(false))).clone();
    #[cfg(unix)]
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler: extern "C" fn(libc::c_int) = ask_to_stop;
        // SAFETY: an all-zero `sigaction` is a valid one; the handler only loads and stores atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            // The default action comes back after the first signal, so that the second ends the process.
            action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    flag
}

static SUSPEND: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-Z does not suspend this process by itself: [`is_to_suspend`] says so.
pub(crate) fn expect_suspension() {
    #[cfg(unix)]
    // SAFETY: an all-zero `sigaction` is a valid one; the handler only stores to an atomic.
    unsafe {
        let handler: extern "C" fn(libc::c_int) = ask_to_suspend;
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = (std::mem::zeroed(), std::mem::zeroed());
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGTSTP, &raw const action, &raw mut before);
        // Where there is no job control it is ignored, and stays so.
        if before.sa_sigaction == libc::SIG_IGN {
            libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut());
        }
    }
}

/// Whether Ctrl-Z was pressed since this was asked last.
pub(crate) fn is_to_suspend() -> bool {
    SUSPEND.swap(false, Ordering::Relaxed)
}

#[cfg(unix)]
extern "C" fn ask_to_suspend(_signal: libc::c_int) {
    SUSPEND.store(true, Ordering::Relaxed);
}

#[cfg(unix)]
extern "C" fn ask_to_stop(_signal: libc::c_int) {
    if let Some(flag) = STOP.get() {
        flag.store(true, Ordering::Relaxed);
    }
}
