//! The parts of an example that make a program's inputs of pictures and sounds.
//!
//! In: the steps of the checkpoint's own processor. Out: Rust that does the same, and what it is built with.

use super::answers::{Resize, Speech, Steps};
use super::code::{Head, TOKENIZERS};
use crate::task::Input;
use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

const MASK: &str = "attention_mask";
const WRITTEN: &str = "decoder_input_ids";

impl Steps {
    /// The input of the program that is made of it.
    fn input(&self) -> &'static str {
        match self {
            Self::Picture { .. } => "pixel_values",
            Self::Sound { .. } => "input_values",
            Self::Speech(_) => "input_features",
        }
    }

    /// The first input that is neither made of it, nor a mask of it, which hides nothing of one row, nor what is written.
    pub fn foreign<'a>(&self, inputs: &'a [Input]) -> Option<&'a str> {
        let other = if matches!(self, Self::Speech(_)) { WRITTEN } else { MASK };
        inputs.iter().map(|input| input.name.0).find(|name| ![self.input(), other].contains(name))
    }

    /// Whether what comes out is written with a tokenizer.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Speech(_))
    }

    /// Lines of `Cargo.toml`.
    pub fn dependencies(&self) -> String {
        let own = match self {
            Self::Picture { .. } => {
                "fast_image_resize = \"6\"\nimage = { version = \"0.25.6\", default-features = false, features = [\"jpeg\", \"png\"] }\n"
            }
            Self::Sound { .. } | Self::Speech(_) => "hound = \"3.5\"\n",
        };
        format!("{own}{}", if self.writes() { TOKENIZERS } else { "" })
    }

    /// What is used of them.
    pub fn uses(&self) -> TokenStream {
        match self {
            Self::Picture { resize, .. } => {
                let resizing = resize.as_ref().map(|_| {
                    quote! {
                        use fast_image_resize::images::Image;
                        use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
                    }
                });
                quote! {
                    #resizing
                    use image::{DynamicImage, ImageDecoder, ImageReader};
                }
            }
            Self::Sound { .. } => quote!(
                use hound::{SampleFormat, WavReader};
            ),
            Self::Speech(_) => quote! {
                use hound::{SampleFormat, WavReader};
                use tokenizers::Tokenizer;
            },
        }
    }

    /// `values`: from a path to the program's first input, one row.
    pub fn items(&self) -> TokenStream {
        match self {
            Self::Picture { resize, filter, crop, mean, std } => {
                picture(resize.as_ref(), filter.as_deref(), *crop, [mean, std])
            }
            Self::Sound { sampling_rate, normalised, .. } => sound(*sampling_rate, &samples(*normalised)),
            Self::Speech(speech) => spectrum(speech),
        }
    }
}

fn picture(
    resize: Option<&Resize>,
    filter: Option<&str>,
    crop: Option<[u32; 2]>,
    scale: [&[f32; 3]; 2],
) -> TokenStream {
    let [mean, std] = scale.map(|values| values.map(Literal::f32_unsuffixed));
    let (sized, resized) = match resize {
        Some(resize) => (sized(resize), resized(filter.unwrap_or_default())),
        None => (TokenStream::new(), TokenStream::new()),
    };
    let cropped = crop.map(|[height, width]| {
        let [height, width] = [height, width].map(|size| Literal::i64_unsuffixed(i64::from(size)));
        quote! {
            let values = values.narrow(1, (values.size()[1] - #height) / 2, #height);
            let values = values.narrow(2, (values.size()[2] - #width) / 2, #width);
        }
    });
    quote! {
        /// Mean and deviation of each colour, in levels from 0 to 255.
        const MEAN: [f32; 3] = [#(#mean),*];
        const STD: [f32; 3] = [#(#std),*];

        #sized

        /// What the model sees of a picture.
        fn values(path: &Path) -> Result<Tensor> {
            let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
            let orientation = decoder.orientation()?;
            let mut picture = DynamicImage::from_decoder(decoder)?;
            picture.apply_orientation(orientation);
            let picture = picture.to_rgb8();
            let (width, height) = picture.dimensions();
            let levels = picture.into_raw();
            #resized
            let values = Tensor::from_slice(&levels).view([i64::from(height), i64::from(width), 3]);
            let values = values.permute([2, 0, 1]).to_kind(Kind::Float);
            #cropped
            let [mean, std] = [MEAN, STD].map(|values| Tensor::from_slice(&values).view([3, 1, 1]));
            Ok(((values - mean) / std).unsqueeze(0).contiguous())
        }
    }
}

/// How large a picture becomes.
fn sized(resize: &Resize) -> TokenStream {
    match *resize {
        Resize::Shortest { shortest_edge } => {
            let edge = Literal::u32_unsuffixed(shortest_edge);
            quote! {
                /// The width and height of a picture whose shorter side is as long as the model wants it.
                fn sized(width: u32, height: u32) -> (u32, u32) {
                    const EDGE: u32 = #edge;
                    let longer = |side: u32, other: u32| (u64::from(EDGE) * u64::from(side) / u64::from(other)) as u32;
                    if width <= height { (EDGE, longer(height, width)) } else { (longer(width, height), EDGE) }
                }
            }
        }
        Resize::Whole { height, width } => {
            let [height, width] = [height, width].map(Literal::u32_unsuffixed);
            quote! {
                /// The width and height that the model wants, of whatever picture.
                fn sized(_: u32, _: u32) -> (u32, u32) {
                    (#width, #height)
                }
            }
        }
    }
}

fn resized(filter: &str) -> TokenStream {
    let filter = format_ident!("{filter}");
    quote! {
        let whole = Image::from_vec_u8(width, height, levels, PixelType::U8x3)?;
        let (width, height) = sized(width, height);
        // As in Python, to whole levels in between: first the width, then the height.
        let mut narrower = Image::new(width, whole.height(), PixelType::U8x3);
        let mut resized = Image::new(width, height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::#filter));
        Resizer::new().resize(&whole, &mut narrower, &options)?;
        Resizer::new().resize(&narrower, &mut resized, &options)?;
        let levels = resized.into_vec();
    }
}

/// From samples to what the model hears.
fn samples(normalised: bool) -> TokenStream {
    let made = match normalised {
        true => quote! {
            let (deviation, mean) = values.var_mean_correction(None::<&[i64]>, 0, false);
            Ok(((values - mean) / (deviation + 1e-7).sqrt()).unsqueeze(0))
        },
        false => quote!(Ok(values.unsqueeze(0))),
    };
    quote! {
        let values = Tensor::from_slice(&samples);
        #made
    }
}

/// A log-mel spectrogram, with the bands of Slaney's Auditory Toolbox.
fn spectrum(speech: &Speech) -> TokenStream {
    let Speech { sampling_rate, window, hop, mels, samples, .. } = speech;
    let [window, hop] = [window, hop].map(|size| Literal::i64_unsuffixed(*size));
    let [mels, samples] = [mels, samples].map(|count| Literal::usize_unsuffixed(*count));
    let made = quote! {
        const SAMPLES: usize = #samples;
        let mut samples = samples;
        samples.resize(SAMPLES, 0.0);
        let window = Tensor::hann_window(WINDOW, (Kind::Float, Device::Cpu));
        // Each frame has its time in the middle.
        let samples = Tensor::from_slice(&samples).unsqueeze(0).reflection_pad1d([WINDOW / 2, WINDOW / 2]);
        let frames = samples.squeeze_dim(0).stft(WINDOW, HOP, WINDOW, Some(&window), false, true, true, false);
        let power = frames.narrow(-1, 0, frames.size()[1] - 1).abs().square();
        let levels = bands().matmul(&power).clamp_min(1e-10).log10();
        let levels = levels.maximum(&(levels.max() - 8.0));
        Ok(((levels + 4.0) / 4.0).unsqueeze(0))
    };
    let values = sound(*sampling_rate, &made);
    quote! {
        /// Samples that a frame looks at, and from one to the next.
        const WINDOW: i64 = #window;
        const HOP: i64 = #hop;
        /// Bands of frequencies.
        const MELS: usize = #mels;
        /// The highest frequency, in Hz.
        const HIGHEST: f64 = 8000.0;

        /// How much of each frequency is in each band.
        fn bands() -> Tensor {
            // Bands are as wide as each other up to 1000 Hz, from there on 27 of them take a factor of 6.4.
            let step = 6.4f64.ln() / 27.0;
            let hertz = |mel: f64| if mel < 15.0 { 200.0 * mel / 3.0 } else { 1000.0 * (step * (mel - 15.0)).exp() };
            let highest = 15.0 + (HIGHEST / 1000.0).ln() / step;
            let edges: Vec<f64> =
                (0..MELS + 2).map(|place| hertz(highest * place as f64 / (MELS + 1) as f64)).collect();
            let bins = WINDOW / 2;
            let share = |edges: &[f64], bin: i64| {
                let frequency = f64::from(RATE / 2) * bin as f64 / bins as f64;
                let up = (frequency - edges[0]) / (edges[1] - edges[0]);
                let down = (edges[2] - frequency) / (edges[2] - edges[1]);
                (up.min(down).max(0.0) * 2.0 / (edges[2] - edges[0])) as f32
            };
            let shares: Vec<f32> =
                edges.windows(3).flat_map(|edges| (0..=bins).map(move |bin| share(edges, bin))).collect();
            Tensor::from_slice(&shares).view([MELS as i64, bins + 1])
        }

        #values
    }
}

/// Reads a WAV file; `made` makes of its samples what the model hears.
fn sound(sampling_rate: u32, made: &TokenStream) -> TokenStream {
    let rate = Literal::u32_unsuffixed(sampling_rate);
    quote! {
        /// Samples a second.
        const RATE: u32 = #rate;

        /// What the model hears of a WAV file.
        fn values(path: &Path) -> Result<Tensor> {
            let mut reader = WavReader::open(path)?;
            let spec = reader.spec();
            if (spec.channels, spec.sample_rate) != (1, RATE) {
                return Err(anyhow!("{} channels at {} Hz, and one at {RATE} Hz is wanted", spec.channels, spec.sample_rate));
            }
            let samples: Vec<f32> = match spec.sample_format {
                SampleFormat::Float => reader.samples().collect::<Result<_, _>>()?,
                SampleFormat::Int => {
                    let full = 2f32.powi(i32::from(spec.bits_per_sample) - 1);
                    let scaled = reader.samples::<i32>().map(|sample| sample.map(|sample| sample as f32 / full));
                    scaled.collect::<Result<_, _>>()?
                }
            };
            #made
        }
    }
}

/// What the program is given of the file of that name.
pub fn inputs(name: &Ident, inputs: &[Input]) -> TokenStream {
    let each = inputs.iter().map(|input| match &*input.name {
        MASK => quote!(IValue::Tensor(values.ones_like().to_kind(Kind::Int64))),
        _ => quote!(IValue::Tensor(values.shallow_clone())),
    });
    quote! {
        let values = values(Path::new(#name)).with_context(|| #name.to_owned())?;
        let inputs = [#(#each),*];
    }
}

/// The option that shows what pictures or sounds become.
pub fn encode_files() -> TokenStream {
    quote! {
        if let [option, path, out] = &arguments[..] && option == "--encode" {
            let paths: Vec<String> = serde_json::from_reader(std::fs::File::open(path)?)?;
            let made = paths.iter().enumerate().map(|(place, path)| {
                Ok((place.to_string(), values(Path::new(path)).with_context(|| path.clone())?))
            });
            Tensor::write_safetensors(&made.collect::<Result<Vec<_>>>()?, out)?;
            return Ok(());
        }
    }
}

/// What was said, by the letters that outputs stand for.
pub fn heard(letters: &[String], lowers: bool) -> Head {
    let count = Literal::usize_unsuffixed(letters.len());
    let lowered = lowers.then(|| quote!(.to_lowercase()));
    Head {
        items: quote! {
            /// What each output stands for in a text.
            const LETTERS: [&str; #count] = [#(#letters),*];

            /// What comes out.
            #[derive(Debug, Serialize)]
            struct Answer {
                text: String,
            }
        },
        body: quote! {
            let mut places = Vec::<i64>::try_from(logits.argmax(-1, false))?;
            // A letter that is said twice has a blank between.
            places.dedup();
            let text: String = places.into_iter().map(|place| LETTERS[place as usize]).collect();
            Ok(Answer { text: text.trim()#lowered.to_owned() })
        },
    }
}
