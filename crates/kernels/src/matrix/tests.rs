use super::{Matrix, Panel, Panels, Rows};
use crate::format::{self, Format, Header, ROWS, with_format};
use crate::testing::{Rng, same, types};
use crate::{Arena, Isa, KernelError, Team};
use dequant::GgmlType;
use std::ops::Range;

impl Rows for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Some groups of a matrix that has them.
fn groups(w: &Matrix, groups: Range<usize>) -> &[u8] {
    let Panels::Resident(packed) = w.panels() else { panic!("packed on demand") };
    w.groups(packed.as_slice(), groups)
}

#[test]
fn rows_come_back_exactly() {
    let mut rng = Rng::new(21);
    for n_threads in [1, 3] {
        let team = Team::new(n_threads).unwrap();
        for ty in types() {
            for n_rows in [1, 15, 16, 17, 40] {
                let n_cols = 512;
                let bytes = rng.weights(ty, n_rows, n_cols);
                let w =
                    Matrix::pack(Isa::detect(), ty, n_rows, n_cols, &bytes, &team, &Arena::new())
                        .unwrap();
                let mut want = vec![0.0; n_rows * n_cols];
                dequant::dequantize(ty, &bytes, &mut want).unwrap();
                let mut row = vec![0.0; n_cols];
                for (r, want) in want.chunks(n_cols).enumerate() {
                    w.dequantize_row(r, &mut row);
                    for (k, (&got, &want)) in row.iter().zip(want).enumerate() {
                        assert!(same(got, want), "{} row {r} column {k}: {got} {want}", ty.name());
                    }
                }
            }
        }
    }
}

/// The packed bytes against the plainest reading of the layout: quads built code by code, absent rows all zeros.
#[test]
fn groups_are_packed_as_documented() {
    fn check<F: Format>(w: &Matrix, bytes: &[u8]) {
        let rows: Vec<&[F::Block]> = bytes
            .chunks(bytes.len() / w.n_rows())
            .map(|row| dequant::blocks(row).unwrap())
            .collect();
        for (group, rows) in rows.chunks(ROWS).enumerate() {
            for (b, packed) in groups(w, group..group + 1).chunks_exact(F::BYTES).enumerate() {
                let codes: Vec<Vec<u8>> = rows
                    .iter()
                    .map(|row| F::words(&row[b]))
                    .map(|words| words.as_ref().iter().flat_map(|w| w.to_le_bytes()).collect())
                    .collect();
                let (header, chunks) = packed.split_at(F::HEADER.n_bytes());
                let chunks = chunks.chunks_exact(format::chunk_bytes(F::BITS));
                for (c, chunk) in chunks.enumerate() {
                    let quads = std::array::from_fn(|quad| {
                        std::array::from_fn(|i| {
                            let column = c * format::CHUNK + quad * 4 + i % 4;
                            codes.get(i / 4).map_or(0, |codes| codes[column])
                        })
                    });
                    assert_eq!(format::unpack_chunk(F::BITS, chunk), quads, "{:?}", w.ty());
                }
                let header = Header::unpack(F::HEADER, header);
                let absent = rows.len()..ROWS;
                let zero = F::HEADER.scale([0; 2]);
                assert!(header.d[absent.clone()].iter().all(|d| *d == zero), "absent rows");
                assert!(header.m[absent].iter().all(|m| *m == 0.0), "absent rows");
            }
        }
    }
    let (mut rng, team) = (Rng::new(23), Team::new(2).unwrap());
    for ty in types() {
        for n_rows in [1, 7, 16, 23, 33] {
            let bytes = rng.weights(ty, n_rows, 512);
            let w = Matrix::pack(Isa::detect(), ty, n_rows, 512, &bytes, &team, &Arena::new());
            let w = w.unwrap();
            let _ = with_format!(ty, F => check::<F>(&w, &bytes), _W => ());
        }
    }
}

#[test]
fn slices_are_packed_as_the_whole() {
    let (mut rng, team, arena) = (Rng::new(24), Team::new(2).unwrap(), Arena::new());
    for ty in types() {
        // The float types in an odd number of columns, beyond a line that is transposed at once.
        let n_cols = if ty.block_elems() == 1 { 77 } else { 512 };
        let (n_rows, row_bytes) = (71, ty.row_bytes(n_cols).unwrap());
        let bytes = rng.weights(ty, n_rows, n_cols);
        let whole = Matrix::pack(Isa::detect(), ty, n_rows, n_cols, &bytes, &team, &arena).unwrap();
        let mut w = Matrix::zeroed(Isa::detect(), ty, n_rows, n_cols, &arena).unwrap();
        for rows in [16..64, 0..16, 64..71, 32..48] {
            let slice = &bytes[rows.start * row_bytes..rows.end * row_bytes];
            w.pack_rows(rows.start, slice, &team).unwrap();
        }
        assert!(groups(&w, 0..5) == groups(&whole, 0..5), "{}", ty.name());
        let (mut got, mut want) = (vec![0.0; n_cols], vec![0.0; n_cols]);
        for (r, row) in bytes.chunks_exact(row_bytes).enumerate() {
            w.dequantize_row(r, &mut got);
            dequant::dequantize(ty, row, &mut want).unwrap();
            assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{} row {r}", ty.name());
        }
        // In the middle of a group, part of one, beyond the end, no whole row.
        for (first_row, n_bytes) in
            [(8, 16 * row_bytes), (0, row_bytes), (64, 8 * row_bytes), (0, 16 * row_bytes - 1)]
        {
            let error = w.pack_rows(first_row, &bytes[..n_bytes], &team).unwrap_err();
            assert!(matches!(error, KernelError::MatrixShape { .. }), "{error:?}");
        }
    }
}

/// Panels are packed as all at once, whatever was in their memory before.
#[test]
fn panels_are_packed_as_the_whole() {
    let (mut rng, team, arena) = (Rng::new(25), Team::new(2).unwrap(), Arena::new());
    let mut panel = Panel::default();
    for ty in types() {
        let n_cols = if ty.block_elems() == 1 { 77 } else { 512 };
        let n_rows = 71;
        let bytes = rng.weights(ty, n_rows, n_cols);
        let whole = Matrix::pack(Isa::detect(), ty, n_rows, n_cols, &bytes, &team, &arena).unwrap();
        let rows = Box::new(bytes.clone());
        let mut w = Matrix::on_demand(Isa::detect(), ty, n_rows, n_cols, rows).unwrap();
        assert!(w.pack_rows(0, &bytes, &team).is_err(), "there is no room for them");
        assert_eq!((w.n_bytes(), w.group_bytes()), (0, whole.group_bytes()));
        for rows in [16..48, 0..71, 64..71, 32..48] {
            panel.sized(100_000).fill(0xFF);
            let want = groups(&whole, rows.start / ROWS..rows.end.div_ceil(ROWS));
            let got = w.pack_panel(&bytes, rows.clone(), &mut panel);
            assert!(got == want, "{} rows {rows:?}", ty.name());
        }
        let (mut got, mut want) = (vec![0.0; n_cols], vec![0.0; n_cols]);
        for r in [0, 17, 70] {
            w.dequantize_row(r, &mut got);
            whole.dequantize_row(r, &mut want);
            assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{} row {r}", ty.name());
        }
        let rows = Box::new(bytes[1..].to_vec());
        let error = Matrix::on_demand(Isa::detect(), ty, n_rows, n_cols, rows).unwrap_err();
        assert!(matches!(error, KernelError::MatrixShape { .. }), "{error:?}");
    }
}

/// Every F16 bit pattern as a scale, with codes that are not symmetric.
#[test]
fn every_scale_comes_back_exactly() {
    let team = Team::new(2).unwrap();
    let mut rng = Rng::new(22);
    for ty in types().filter(|ty| ty.block_elems() > 1) {
        let (k, n_rows) = (ty.block_elems(), 0x1_0000 / 4);
        let mut bytes = rng.weights(ty, n_rows, 4 * k);
        for (scale, block) in (0..=u16::MAX).zip(bytes.chunks_exact_mut(ty.block_bytes())) {
            let at = match ty {
                GgmlType::Q3_K | GgmlType::Q6_K => block.len() - 2,
                GgmlType::Q2_K => 80,
                _ => 0,
            };
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        let w =
            Matrix::pack(Isa::detect(), ty, n_rows, 4 * k, &bytes, &team, &Arena::new()).unwrap();
        let (mut got, mut want) = (vec![0.0; 4 * k], vec![0.0; 4 * k]);
        for (r, bytes) in bytes.chunks_exact(4 * ty.block_bytes()).enumerate() {
            w.dequantize_row(r, &mut got);
            dequant::dequantize(ty, bytes, &mut want).unwrap();
            assert!(got.iter().zip(&want).all(|(&a, &b)| same(a, b)), "{} row {r}", ty.name());
        }
    }
}

#[test]
fn takes_about_one_copy() {
    let team = Team::new(1).unwrap();
    for ty in types() {
        let n_bytes = ty.row_bytes(1024).unwrap() * 64;
        let w = Matrix::pack(Isa::detect(), ty, 64, 1024, &vec![0; n_bytes], &team, &Arena::new())
            .unwrap();
        assert!(w.n_bytes() >= n_bytes && w.n_bytes() * 100 <= n_bytes * 104, "{}", ty.name());
        assert_eq!(Matrix::packed_bytes(ty, 64, 1024), Some(w.n_bytes()));
    }
}

#[test]
fn wrong_shapes_and_types_are_errors() {
    let team = Team::new(1).unwrap();
    let pack = |ty, n_rows, n_cols, n_bytes| {
        Matrix::pack(Isa::Scalar, ty, n_rows, n_cols, &vec![0; n_bytes], &team, &Arena::new())
            .unwrap_err()
    };
    assert!(matches!(pack(GgmlType::I32, 1, 1, 4), KernelError::UnsupportedType { .. }));
    for (n_rows, n_cols, n_bytes) in [
        (1, 31, 18),
        (1, 32, 17),
        (2, 32, 18),
        (usize::MAX, 32, 0),
        (usize::MAX, usize::MAX, 18),
        (1, usize::MAX - 31, 18),
    ] {
        let error = pack(GgmlType::Q4_0, n_rows, n_cols, n_bytes);
        assert!(matches!(error, KernelError::MatrixShape { .. }), "{error:?}");
    }
    assert_eq!(Matrix::packed_bytes(GgmlType::Q4_0, usize::MAX, 32), None);
}
