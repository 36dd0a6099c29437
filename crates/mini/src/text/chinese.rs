//! The words of Chinese questions. Nothing stands between Chinese words, so that each is a token found inside the text.

use super::mention::Mention;
use crate::world::{Colour, Place, Shape, Size};

const SHAPES: [&str; 8] = [
    "圆形",
    "正方形",
    "三角形",
    "十字形",
    "圆环",
    "星形",
    "月牙",
    "菱形",
];
const COLOURS: [&str; 8] = ["红色", "绿色", "蓝色", "黄色", "紫色", "青色", "粉色", "橙色"];
const SIZES: [&str; 2] = ["小的", "大的"];
const PLACES: [[&str; 3]; 3] = [
    ["左上角", "上方", "右上角"],
    ["左侧", "中间", "右侧"],
    ["左下角", "下方", "右下角"],
];
const OBJECT: &str = "物体";
const OF: &str = "的";
const SIGN: &str = "牌子";
const WHAT_COLOUR: &str = "是什么颜色？";
const WHAT_SHAPE: &str = "是什么形状？";
const WHERE: &str = "在哪里？";
const HOW_MANY: &str = "图中有几个";
const MARK: &str = "？";

/// A hint that tells nothing.
pub(super) const PLAIN_HINT: &str = "图中有物体。";

/// Every word.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let phrases = [
        OBJECT,
        OF,
        SIGN,
        WHAT_COLOUR,
        WHAT_SHAPE,
        WHERE,
        HOW_MANY,
        MARK,
        PLAIN_HINT,
    ];
    SHAPES
        .into_iter()
        .chain(COLOURS)
        .chain(SIZES)
        .chain(PLACES.into_iter().flatten())
        .chain(phrases)
}

pub(super) fn shape(shape: Shape) -> &'static str {
    SHAPES[shape.index()]
}

pub(super) fn colour(colour: Colour) -> &'static str {
    COLOURS[colour.index()]
}

pub(super) fn place(place: Place) -> &'static str {
    PLACES[place.row as usize][place.column as usize]
}

/// `大的红色的圆形`, `红色的物体`; the sign for `None`.
fn phrase(mention: Option<&Mention>) -> String {
    let Some(mention) = mention else {
        return SIGN.to_owned();
    };
    let size = mention.size.map_or("", |size: Size| SIZES[size.index()]);
    let colour = mention
        .colour
        .map_or(String::new(), |own| format!("{}{OF}", colour(own)));
    format!("{size}{colour}{}", mention.shape.map_or(OBJECT, shape))
}

pub(super) fn ask_colour(mention: Option<&Mention>) -> String {
    phrase(mention) + WHAT_COLOUR
}

pub(super) fn ask_shape(mention: Option<&Mention>) -> String {
    phrase(mention) + WHAT_SHAPE
}

pub(super) fn ask_position(mention: Option<&Mention>) -> String {
    phrase(mention) + WHERE
}

pub(super) fn ask_count(mention: Option<&Mention>) -> String {
    format!("{HOW_MANY}{}{MARK}", phrase(mention))
}
