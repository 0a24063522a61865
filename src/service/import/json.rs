//! Where the elements of an array begin and end, byte by byte, with a few bytes of memory. Whether an element is JSON is seen when
//! it is parsed.

/// What a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing of an element.
    Between,
    /// The first one of an element.
    Begin,
    /// One more of it.
    Within,
    /// The one after an element.
    End,
    /// Behind the end of the whole.
    Garbage,
}

/// The state of the scan.
#[derive(Debug, Default)]
pub(super) struct Json {
    depth: u32,
    /// The depth within the array whose elements are wanted; 0 outside of it.
    base: u32,
    /// Within an element.
    element: bool,
    string: bool,
    escaped: bool,
    /// The last string of depth 1, and the key that is being read.
    last: Vec<u8>,
    key: Vec<u8>,
    over: bool,
    garbage: bool,
}

/// The key whose array is wanted.
const KEY: &[u8] = b"users";

impl Json {
    /// The whole has no end so far.
    pub(super) fn is_open(&self) -> bool {
        !self.over
    }

    pub(super) fn step(&mut self, byte: u8) -> Step {
        if self.over {
            if byte.is_ascii_whitespace() || self.garbage {
                return Step::Between;
            }
            self.garbage = true;
            return Step::Garbage;
        }
        if self.string {
            return self.in_string(byte);
        }
        match byte {
            b'"' => {
                self.string = true;
                self.last.clear();
                self.within()
            }
            b'[' | b'{' => {
                let step = self.within();
                self.depth += 1;
                let wanted = self.depth == 1 || (self.depth == 2 && self.key == KEY);
                if byte == b'[' && self.base == 0 && wanted {
                    self.base = self.depth;
                    return Step::Between;
                }
                step
            }
            b']' | b'}' => {
                let ended = self.base > 0 && self.depth == self.base;
                let element = ended && std::mem::take(&mut self.element);
                self.depth = self.depth.saturating_sub(1);
                if ended {
                    self.base = 0;
                    self.key.clear();
                }
                self.over = self.depth == 0;
                if element {
                    Step::End
                } else if self.element {
                    Step::Within
                } else {
                    Step::Between
                }
            }
            b',' if self.base > 0 && self.depth == self.base => {
                if std::mem::take(&mut self.element) {
                    Step::End
                } else {
                    Step::Between
                }
            }
            b':' if self.base == 0 && self.depth == 1 => {
                self.key = std::mem::take(&mut self.last);
                Step::Between
            }
            b',' if self.base == 0 && self.depth == 1 => {
                self.key.clear();
                Step::Between
            }
            _ if byte.is_ascii_whitespace() && !self.element => Step::Between,
            _ => self.within(),
        }
    }

    fn in_string(&mut self, byte: u8) -> Step {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.string = false;
        }
        if self.string && self.base == 0 && self.depth == 1 && self.last.len() <= KEY.len() {
            self.last.push(byte);
        }
        if self.element { Step::Within } else { Step::Between }
    }

    /// A byte that belongs to an element, if this is where they are.
    fn within(&mut self) -> Step {
        if self.base == 0 {
            Step::Between
        } else if std::mem::replace(&mut self.element, true) {
            Step::Within
        } else {
            Step::Begin
        }
    }
}
