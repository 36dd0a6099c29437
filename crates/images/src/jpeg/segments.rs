//! A file's segments, in order.

use super::Problem;
use super::colour::Colour;
use super::frame::{Frame, ZIGZAG};
use super::huffman::Huffman;
use super::scan::{Part, Scan, next_marker};

/// Most scans of a file: far above what any encoder writes, and low enough to end in time.
const MAX_SCANS: usize = 200;

/// The tables and settings that segments leave behind.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    quant: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart: usize,
    jfif: bool,
    adobe: Option<u8>,
}

/// The reason for which the walk through the segments ends.
enum Stop<'a> {
    /// A frame header, with the marker that says its kind.
    Frame(u8, &'a [u8]),
    /// A scan header.
    Scan(&'a [u8]),
    /// The end of the picture.
    End,
}

impl<'a> Decoder<'a> {
    /// At the beginning of a file.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            quant: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart: 0,
            jfif: false,
            adobe: None,
        }
    }

    /// Width and height.
    pub(super) fn dimensions(mut self) -> Result<(u32, u32), Problem> {
        self.start()?;
        match self.walk(|_, _| ())? {
            Stop::Frame(_, [_, h1, h0, w1, w0, ..]) => {
                let sides = [[*w1, *w0], [*h1, *h0]].map(|side| u32::from(u16::from_be_bytes(side)));
                Ok((sides[0], sides[1]))
            }
            _ => Err(Problem::damaged("no frame header before the first scan")),
        }
    }

    /// The Exif block before the first scan.
    pub(super) fn exif(mut self) -> Option<&'a [u8]> {
        let mut found = None;
        self.start().ok()?;
        let mut look = |marker, body: &'a [u8]| {
            if let (0xe1, None, Some(tiff)) = (marker, found, body.strip_prefix(b"Exif\0\0")) {
                found = Some(tiff);
            }
        };
        // What is behind a damaged segment does not matter here.
        while let Ok(Stop::Frame(..)) = self.walk(&mut look) {}
        found
    }

    /// The frame with all its samples.
    pub(super) fn decode(mut self) -> Result<(Frame, Colour), Problem> {
        self.start()?;
        let mut frame: Option<Frame> = None;
        let mut n_scans = 0;
        loop {
            match (self.walk(|_, _| ())?, &mut frame) {
                (Stop::Frame(kind, body), None) => frame = Some(self.frame(kind, body)?),
                (Stop::Frame(..), Some(_)) => return Err(Problem::damaged("a second frame header")),
                (Stop::Scan(body), Some(frame)) => {
                    n_scans += 1;
                    if n_scans > MAX_SCANS {
                        return Err(Problem::unsupported(format!("more than {MAX_SCANS} scans")));
                    }
                    let scan = self.scan(body, frame)?;
                    let end = scan.read(frame, self.bytes, self.at)?;
                    self.at = end;
                }
                (Stop::Scan(_), None) => return Err(Problem::damaged("a scan before the frame header")),
                (Stop::End, _) => break,
            }
        }
        let mut frame = frame.ok_or_else(|| Problem::damaged("no frame header"))?;
        let colour = self.colour(&frame);
        frame.transform();
        Ok((frame, colour))
    }

    fn start(&mut self) -> Result<(), Problem> {
        if !self.bytes.starts_with(&[0xff, 0xd8]) {
            return Err(Problem::damaged("no start mark"));
        }
        self.at = 2;
        Ok(())
    }

    /// Goes on to the next segment that ends the walk, takes in those before it and shows each to `look`.
    fn walk(&mut self, mut look: impl FnMut(u8, &'a [u8])) -> Result<Stop<'a>, Problem> {
        loop {
            let (marker, behind) = next_marker(self.bytes, self.at)?;
            self.at = behind;
            match marker {
                0xd9 => return Ok(Stop::End),
                // Markers that stand alone.
                0x01 | 0xd0..=0xd7 => continue,
                0xd8 => return Err(Problem::damaged("a second start mark")),
                _ => {}
            }
            let body = self.body()?;
            look(marker, body);
            match marker {
                0xc4 => self.huffman_tables(body)?,
                0xc8 | 0xcc => return Err(Problem::unsupported("arithmetic coding")),
                0xc0..=0xcf => return Ok(Stop::Frame(marker, body)),
                0xda => return Ok(Stop::Scan(body)),
                0xdb => self.quant_tables(body)?,
                0xdd => {
                    let &[high, low] = body else {
                        return Err(Problem::damaged("a restart interval of another length"));
                    };
                    self.restart = usize::from(u16::from_be_bytes([high, low]));
                }
                0xe0 => self.jfif |= body.len() >= 14 && body.starts_with(b"JFIF\0"),
                0xee if body.len() >= 12 && body.starts_with(b"Adobe") => self.adobe = Some(body[11]),
                _ => {}
            }
        }
    }

    /// The body of the segment at the present place.
    fn body(&mut self) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.at..];
        let short = || Problem::truncated(format!("its {} bytes end inside a header", self.bytes.len()));
        let [high, low, ..] = rest else {
            return Err(short());
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length < 2 {
            return Err(Problem::damaged(format!("a segment of length {length}")));
        }
        let body = rest.get(2..length).ok_or_else(short)?;
        self.at += length;
        Ok(body)
    }

    fn quant_tables(&mut self, mut body: &[u8]) -> Result<(), Problem> {
        let bad = || Problem::damaged("a quantisation table of another length");
        while let [head, rest @ ..] = body {
            let (wide, number) = (head >> 4 != 0, usize::from(head & 15));
            let size = if wide { 128 } else { 64 };
            let steps = rest.get(..size).ok_or_else(bad)?;
            let mut table = [0; 64];
            for (k, &place) in ZIGZAG.iter().enumerate() {
                table[usize::from(place)] = match wide {
                    true => u16::from_be_bytes([steps[2 * k], steps[2 * k + 1]]),
                    false => u16::from(steps[k]),
                };
            }
            *self.quant.get_mut(number).ok_or_else(bad)? = Some(table);
            body = &rest[size..];
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut body: &[u8]) -> Result<(), Problem> {
        let bad = || Problem::damaged("a Huffman table of another length");
        while let [head, rest @ ..] = body {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(bad)?;
            let n: usize = counts.iter().map(|&n| usize::from(n)).sum();
            let symbols = rest.get(..n).ok_or_else(bad)?;
            let table = Huffman::new(counts, symbols)?;
            let number = usize::from(head & 15);
            let place = match head >> 4 {
                0 if table.largest() > 15 => return Err(Problem::damaged("a mean of more than 15 bits")),
                0 => self.dc.get_mut(number),
                1 => self.ac.get_mut(number),
                _ => None,
            };
            *place.ok_or_else(bad)? = Some(table);
            body = &rest[n..];
        }
        Ok(())
    }

    fn frame(&self, kind: u8, body: &[u8]) -> Result<Frame, Problem> {
        match kind {
            0xc0 | 0xc1 => Frame::new(body, false),
            0xc2 => Frame::new(body, true),
            0xc3 => Err(Problem::unsupported("lossless coding")),
            0xc9 | 0xca | 0xcb | 0xcd..=0xcf => Err(Problem::unsupported("arithmetic coding")),
            _ => Err(Problem::unsupported("hierarchical coding")),
        }
    }

    /// A scan header, with the tables that it names.
    fn scan<'t>(&'t self, body: &[u8], frame: &mut Frame) -> Result<Scan<'t>, Problem> {
        let bad = |what: &str| Problem::damaged(format!("a scan header {what}"));
        let [n, rest @ ..] = body else {
            return Err(bad("without content"));
        };
        let (rows, rest) = rest
            .split_at_checked(2 * usize::from(*n))
            .ok_or_else(|| bad("that is too short"))?;
        let [from, to, bits, ..] = rest else {
            return Err(bad("that is too short"));
        };
        let mut parts: Vec<Part<'t>> = Vec::new();
        for [id, tables] in rows.as_chunks::<2>().0 {
            let component = frame.components.iter().position(|component| component.id == *id);
            let component = component.ok_or_else(|| bad("that names an unknown component"))?;
            if parts.iter().any(|part| part.component == component) {
                return Err(bad("that names a component twice"));
            }
            let table = |tables: &'t [Option<Huffman>; 4], number: u8| {
                tables.get(usize::from(number)).and_then(Option::as_ref)
            };
            parts.push(Part {
                component,
                dc: table(&self.dc, tables >> 4),
                ac: table(&self.ac, tables & 15),
            });
            let component = &mut frame.components[component];
            if component.quant.is_none() {
                let steps = self.quant.get(component.table).copied().flatten();
                component.quant = Some(steps.ok_or_else(|| bad("before its quantisation table"))?);
            }
        }
        if parts.is_empty() {
            return Err(bad("without components"));
        }
        let (from, to, high, low) = (usize::from(*from), usize::from(*to), bits >> 4, bits & 15);
        if !frame.progressive {
            // Whatever the header says, all is in one scan.
            return Ok(Scan {
                parts,
                from: 0,
                to: 63,
                refines: false,
                low: 0,
                restart: self.restart,
            });
        }
        let band = match from {
            0 => to == 0,
            _ => (from..64).contains(&to) && parts.len() == 1,
        };
        let depth = low <= 13 && (high == 0 || high == low + 1);
        if !(band && depth) {
            return Err(bad(&format!(
                "of coefficients {from} to {to}, bits {high} to {low}"
            )));
        }
        Ok(Scan {
            parts,
            from,
            to,
            refines: high > 0,
            low,
            restart: self.restart,
        })
    }

    /// The meaning of the components, by the rules of libjpeg.
    fn colour(&self, frame: &Frame) -> Colour {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        match (ids.as_slice(), self.adobe) {
            ([_], _) => Colour::Grey,
            ([_, _, _], _) if self.jfif => Colour::YCbCr,
            ([_, _, _], Some(0)) => Colour::Rgb,
            ([b'R', b'G', b'B'], None) => Colour::Rgb,
            ([_, _, _], _) => Colour::YCbCr,
            (_, None | Some(0)) => Colour::Cmyk,
            _ => Colour::Ycck,
        }
    }
}
