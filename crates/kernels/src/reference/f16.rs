//! 16-bit floats as ggml's scalar code converts them: what the KV cache holds.

/// f32 to the bits of the nearest f16, ties to even; overflow gives infinity.
///
/// A NaN keeps its sign and loses its payload (`0x7e00`), which is where ggml's software conversion differs from
/// the hardware's.
#[must_use]
pub fn f32_to_f16(x: f32) -> u16 {
    u16::from_le_bytes(dequant::f32_to_f16(x))
}

/// The f32 with the value of these f16 bits; exact. A NaN comes back quiet, with its payload.
///
/// The result is that of [`dequant::f16_to_f32`]; this form inlines into loops, without a test for the hardware's
/// instruction at every element.
#[must_use]
#[inline]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    if magnitude >= 0x7c00 {
        let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
        return f32::from_bits(sign | 0x7f80_0000 | quiet | ((magnitude & 0x3ff) << 13));
    }
    // The same fields read as an f32 mean the value times 2^-112; the product is exact, subnormals included.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(sign | scaled.to_bits())
}
