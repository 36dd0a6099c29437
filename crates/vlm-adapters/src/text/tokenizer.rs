//! The checkpoint's own `tokenizer.json`, unchanged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::LoadError;
use crate::config::read_optional_json;

const REMEDY: &str = "restore the checkpoint's published tokenizer.json";

/// Texts to ids and back.
///
/// Two conversions of the Llama tokenizer are in circulation, which differ in the ids after an image placeholder.
/// Both are legitimate; nothing is corrected here.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    path: PathBuf,
    inner: Tokenizer,
    image_token_id: Option<u32>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    pad_id: Option<u32>,
}

impl TextTokenizer {
    /// Read a `tokenizer.json`; the special tokens' roles come from `tokenizer_config.json` and
    /// `special_tokens_map.json` beside it, or from the usual spellings.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Io`], [`LoadError::Tokenizer`], [`LoadError::Json`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let bytes =
            std::fs::read(path).map_err(|source| LoadError::read(path, "a tokenizer", REMEDY, source))?;
        LoadError::check_pointer(path, &bytes, "a tokenizer")?;
        // The library panics where JSON ends or breaks within the decoder.
        serde_json::from_slice::<Value>(&bytes)
            .map_err(|error| failure(path, error.into(), "a tokenizer.json"))?;
        // And where merges are shorter than the prefix that they should begin with.
        let mut inner = catch_unwind(|| Tokenizer::from_bytes(&bytes))
            .unwrap_or_else(|_| Err("merges that contradict the other settings".into()))
            .map_err(|error| failure(path, error, "a tokenizer.json"))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| failure(path, error, "a tokenizer without truncation"))?;
        let named = named_tokens(path.parent().unwrap_or(Path::new("")))?;
        let id = |role: &str, usual: &[&str]| {
            let said = named.get(role).map(String::as_str);
            said.iter()
                .chain(usual)
                .find_map(|token| inner.token_to_id(token))
        };
        let image = id("image_token", &["<image>", "<|image_pad|>"]);
        Ok(Self {
            image_token_id: image.filter(|id| is_matched_first(&inner, *id)),
            bos_id: id("bos_token", &["<s>"]),
            eos_id: id("eos_token", &["</s>", "<|im_end|>", "<|endoftext|>"]),
            pad_id: id("pad_token", &["<pad>", "<|endoftext|>", "<unk>"]),
            path: path.into(),
            inner,
        })
    }

    /// The ids of `text`; with `add_special`, with the marks that the tokenizer puts around a text (for Llama, one
    /// begin mark). Special tokens spelt out in the text are recognised in both cases.
    ///
    /// # Errors
    /// [`LoadError::Tokenizer`] for text that the tokenizer has no ids for.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, LoadError> {
        // The library panics where the file's own rules name a token that the file does not have.
        let encode = || self.inner.encode_fast(text, add_special);
        let encoding = catch_unwind(AssertUnwindSafe(encode))
            .unwrap_or_else(|_| Err("rules that name a token which is not there".into()));
        let encoding = encoding.map_err(|error| failure(&self.path, error, "a text that it can encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`, with or without special tokens. Ids outside the vocabulary are skipped, bytes that are no
    /// text become replacement characters.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        // The decoders of language models cannot fail; should one, the raw tokens are still better than nothing.
        self.inner.decode(ids, skip_special).unwrap_or_else(|_| {
            ids.iter()
                .filter_map(|&id| self.inner.id_to_token(id))
                .collect::<Vec<_>>()
                .join("")
        })
    }

    /// The id that stands for one image, if the tokenizer recognises its spelling as a special token.
    pub fn image_token_id(&self) -> Option<u32> {
        self.image_token_id
    }

    /// The id that begins a text, for tokenizers that have one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id that ends an answer.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The id that fills short rows of a batch.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// Number of ids, special tokens included. Models may have more rows than this.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// `true` if the token is looked for in the raw text, before any normalisation.
fn is_matched_first(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer
        .get_added_tokens_decoder()
        .get(&id)
        .is_some_and(|token| !token.normalized)
}

/// The special tokens whose roles the files beside the tokenizer name, such as `bos_token`.
pub(super) fn named_tokens(dir: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    let mut named = BTreeMap::new();
    for file in [
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
    ] {
        let json: Option<Value> = read_optional_json(&dir.join(file), "special tokens")?;
        let json = json.as_ref().and_then(Value::as_object);
        // Newer files keep the roles that only some models have apart.
        let extra = json
            .and_then(|json| json.get("extra_special_tokens"))
            .and_then(Value::as_object);
        let fields = extra.into_iter().chain(json).flatten();
        for (role, token) in fields.filter(|(role, _)| role.ends_with("_token")) {
            let text = token
                .as_str()
                .or_else(|| token.get("content").and_then(Value::as_str));
            named.extend(text.map(|text| (role.clone(), text.to_string())));
        }
    }
    Ok(named)
}

fn failure(path: &Path, error: tokenizers::Error, wanted: &str) -> LoadError {
    LoadError::Tokenizer {
        path: path.into(),
        found: error.to_string(),
        wanted: wanted.into(),
        remedy: REMEDY.into(),
    }
}
