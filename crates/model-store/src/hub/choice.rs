//! Which file of a repository `hf:OWNER/REPO[:QUANT]` means: llama.cpp's choice (`-hf`).

/// What is taken, in this order, if no quantization is named.
const USUAL: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// Files that are no model by themselves.
const COMPANIONS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// The file of `quant`; if none is named, of the usual ones the first there is, or else any model.
pub(crate) fn choose<'f>(files: &'f [String], quant: Option<&str>) -> Option<&'f String> {
    let models = || files.iter().filter(|file| is_model(file));
    let of = |quant: &str| models().find(|file| is_of(file, quant));
    match quant {
        Some(quant) => of(quant),
        None => USUAL.into_iter().find_map(of).or_else(|| models().next()),
    }
}

/// Whether a file can be opened as a model: of several shards, the first.
fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let is_later_shard = name
        .strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit_once("-of-"))
        .and_then(|(stem, _)| stem.rsplit_once('-'))
        .is_some_and(|(_, index)| index.parse::<u32>().is_ok_and(|index| index != 1));
    name.ends_with(".gguf") && !is_later_shard && !COMPANIONS.iter().any(|c| name.contains(c))
}

/// Whether the name holds the quantization, any case, and `.` or `-` behind it.
pub(crate) fn is_of(file: &str, quant: &str) -> bool {
    let (file, quant) = (file.to_ascii_lowercase(), quant.to_ascii_lowercase());
    file.match_indices(&quant).any(|(at, _)| {
        file.get(at + quant.len()..).is_some_and(|rest| rest.starts_with(['.', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str], quant: Option<&str>) -> Option<String> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        choose(&files, quant).cloned()
    }

    #[test]
    fn the_choice_is_llama_cpps() {
        let files =
            ["README.md", "mmproj-Q4_K_M.gguf", "m-F16.gguf", "m-Q8_0.gguf", "m-q4_k_m.gguf"];
        assert_eq!(chosen(&files, None).unwrap(), "m-q4_k_m.gguf");
        assert_eq!(chosen(&files, Some("q8_0")).unwrap(), "m-Q8_0.gguf");
        assert_eq!(chosen(&files, Some("Q4_K")), None, "Q4_K is not Q4_K_M");
        assert_eq!(chosen(&files[..4], None).unwrap(), "m-Q8_0.gguf");
        assert_eq!(chosen(&files[..3], None).unwrap(), "m-F16.gguf");
        assert_eq!(chosen(&files[..2], None), None);
        let shards = ["Q6_K/m-Q6_K-00002-of-00002.gguf", "Q6_K/m-Q6_K-00001-of-00002.gguf"];
        assert_eq!(chosen(&shards, Some("Q6_K")).unwrap(), shards[1]);
    }
}
