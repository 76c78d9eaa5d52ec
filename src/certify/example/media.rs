//! The parts of an example that make a program's inputs of pictures and sounds.
//!
//! In: the steps of the checkpoint's own processor. Out: Rust that does the same, and what it is built with.

use super::answers::{Resize, Steps};
use super::code::Head;
use crate::task::Input;
use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

const MASK: &str = "attention_mask";

impl Steps {
    /// The input of the program that is made of it.
    fn input(&self) -> &'static str {
        match self {
            Self::Picture { .. } => "pixel_values",
            Self::Sound { .. } => "input_values",
        }
    }

    /// The first input that is neither made of it, nor a mask of it, which hides nothing of one row.
    pub fn foreign<'a>(&self, inputs: &'a [Input]) -> Option<&'a str> {
        inputs.iter().map(|input| input.name.0).find(|name| ![self.input(), MASK].contains(name))
    }

    /// Lines of `Cargo.toml`.
    pub fn dependencies(&self) -> &'static str {
        match self {
            Self::Picture { .. } => {
                "fast_image_resize = \"6\"\nimage = { version = \"0.25.6\", default-features = false, features = [\"jpeg\", \"png\"] }\n"
            }
            Self::Sound { .. } => "hound = \"3.5\"\n",
        }
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
        }
    }

    /// `values`: from a path to the program's first input, one row.
    pub fn items(&self) -> TokenStream {
        match self {
            Self::Picture { resize, filter, crop, mean, std } => {
                picture(resize.as_ref(), filter.as_deref(), *crop, [mean, std])
            }
            Self::Sound { sampling_rate, normalised, .. } => sound(*sampling_rate, *normalised),
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

fn sound(sampling_rate: u32, normalised: bool) -> TokenStream {
    let rate = Literal::u32_unsuffixed(sampling_rate);
    let made = match normalised {
        true => quote! {
            let (deviation, mean) = values.var_mean_correction(None::<&[i64]>, 0, false);
            Ok(((values - mean) / (deviation + 1e-7).sqrt()).unsqueeze(0))
        },
        false => quote!(Ok(values.unsqueeze(0))),
    };
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
            let values = Tensor::from_slice(&samples);
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
