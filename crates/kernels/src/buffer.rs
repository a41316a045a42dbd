//! Memory that begins at a cache line.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zeroed numbers that begin at a multiple of 64 bytes, so that packed lines never straddle cache lines.
/// Pages are committed when they are first written, by the thread that writes them.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let memory = vec![T::default(); len + LINE / size_of::<T>()];
        // A `Vec` never moves its memory unless it grows, and this one does not.
        let address = memory.as_ptr().addr();
        let start = (address.next_multiple_of(LINE) - address) / size_of::<T>();
        Self { memory, start, len }
    }

    /// The numbers.
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The numbers, to be written.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::Aligned;

    #[test]
    fn begins_at_a_line_and_has_its_length() {
        for len in [0, 1, 31, 32, 33, 63, 64, 65, 1000] {
            let mut bytes = Aligned::<u8>::zeroed(len);
            assert_eq!(bytes.as_slice(), vec![0; len]);
            assert!(bytes.as_slice().as_ptr().addr().is_multiple_of(64), "alignment");
            bytes.as_mut_slice().fill(7);
            assert_eq!(bytes.as_slice(), vec![7; len]);
            let mut words = Aligned::<u16>::zeroed(len);
            assert!(words.as_slice().as_ptr().addr().is_multiple_of(64), "alignment");
            words.as_mut_slice().fill(9);
            assert_eq!(words.as_slice(), vec![9; len]);
        }
    }
}
