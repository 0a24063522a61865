//! The reference implementation in C, from a shared library.

use argon2_kernel::{Block, Input};
use std::{
    cell::Cell,
    ffi::{CStr, CString, c_int, c_void},
    ptr,
};

/// `argon2_ctx` of the library.
type Compute = unsafe extern "C" fn(*mut Context, c_int) -> c_int;

#[derive(Clone, Copy)]
pub struct Reference(Compute);

/// `argon2_context` of argon2.h.
#[repr(C)]
struct Context {
    out: *mut u8,
    out_len: u32,
    password: *const u8,
    password_len: u32,
    salt: *const u8,
    salt_len: u32,
    secret: *const u8,
    secret_len: u32,
    data: *const u8,
    data_len: u32,
    t: u32,
    m_kib: u32,
    lanes: u32,
    threads: u32,
    version: u32,
    allocate: extern "C" fn(*mut *mut u8, usize) -> c_int,
    free: extern "C" fn(*mut u8, usize),
    flags: u32,
}

thread_local! {
    /// What `allocate` gives out on this thread.
    static BLOCKS: Cell<*mut Block> = const { Cell::new(ptr::null_mut()) };
}

extern "C" fn allocate(memory: *mut *mut u8, _bytes: usize) -> c_int {
    // SAFETY: the library passes where it wants the address. `run` has seen to it that there is enough memory.
    unsafe { *memory = BLOCKS.get().cast() };
    0
}

extern "C" fn free(_memory: *mut u8, _bytes: usize) {}

impl Reference {
    pub fn load(path: &str) -> Self {
        let name = CString::new(path).expect("no zero in a path");
        // SAFETY: loading runs the library's initialisers: whoever measures has built it for this.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "{path} can't be loaded");
        let symbol = |name: &CStr| -> *mut c_void {
            // SAFETY: a loaded library, and a name that ends in zero.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null(), "{path} has no {name:?}");
            found
        };
        // The library would wipe its memory after each hash, which the others don't.
        // SAFETY: an int of the library, and nothing of it runs yet.
        unsafe { *symbol(c"FLAG_clear_internal_memory").cast::<c_int>() = 0 };
        // SAFETY: that is the function's type in argon2.h.
        Self(unsafe { std::mem::transmute::<*mut c_void, Compute>(symbol(c"argon2_ctx")) })
    }

    pub fn run(self, input: &Input<'_>, blocks: &mut [Block], tag: &mut [u8; 32]) {
        assert!(blocks.len() >= input.blocks());
        BLOCKS.set(blocks.as_mut_ptr());
        let mut context = Context {
            out: tag.as_mut_ptr(),
            out_len: 32,
            password: input.password.as_ptr(),
            password_len: input.password.len() as u32,
            salt: input.salt.as_ptr(),
            salt_len: input.salt.len() as u32,
            secret: ptr::null(),
            secret_len: 0,
            data: ptr::null(),
            data_len: 0,
            t: input.t,
            m_kib: input.m_kib,
            lanes: input.p,
            threads: 1,
            version: input.version,
            allocate,
            free,
            flags: 0,
        };
        // SAFETY: the pointers are to what this function holds, with their lengths; without flags the library writes to the tag
        // and the memory only. 2 is Argon2id.
        let code = unsafe { (self.0)(&raw mut context, 2) };
        assert_eq!(code, 0, "the C library refuses");
    }
}
