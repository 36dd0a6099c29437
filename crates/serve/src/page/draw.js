// A picture with the tokens that a method keeps of it, and with their scores.

const WIDE = 480;
const DROPPED = "rgba(18, 22, 24, 0.74)";
const EDGE = "#ffd43b";
const HEAT = ["#1b1044", "#5a167e", "#a52c60", "#e35933", "#fb9b06", "#f7e225"].map((hex) =>
  [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)),
);

function heat(share) {
  const at = share * (HEAT.length - 1);
  const low = Math.min(Math.floor(at), HEAT.length - 2);
  const mix = HEAT[low].map((from, i) => Math.round(from + (HEAT[low + 1][i] - from) * (at - low)));
  return `rgb(${mix.join(",")})`;
}

/** The place of everything on a canvas: the picture, and the raster, which may reach beyond it where it was padded. */
function frame(canvas, picture, raster) {
  const [l, t, r, b] = raster.area;
  const box = { l: Math.min(0, l), t: Math.min(0, t), r: Math.max(1, r), b: Math.max(1, b) };
  const scale = WIDE / ((box.r - box.l) * picture.naturalWidth);
  canvas.width = WIDE;
  canvas.height = Math.round((box.b - box.t) * picture.naturalHeight * scale);
  const x = (share) => (share - box.l) * picture.naturalWidth * scale;
  const y = (share) => (share - box.t) * picture.naturalHeight * scale;
  const cell = (row, col) => {
    const left = x(l + ((r - l) * col) / raster.cols);
    const top = y(t + ((b - t) * row) / raster.rows);
    const right = x(l + ((r - l) * (col + 1)) / raster.cols);
    const bottom = y(t + ((b - t) * (row + 1)) / raster.rows);
    return [left, top, right - left, bottom - top];
  };
  return { x, y, cell };
}

function lay(context, picture, place) {
  context.drawImage(picture, place.x(0), place.y(0), place.x(1) - place.x(0), place.y(1) - place.y(0));
}

/** Draws the picture with everything dimmed that is not kept; `kept` is a set of the raster's own indices. */
export function drawKept(canvas, picture, raster, kept, merged) {
  const place = frame(canvas, picture, raster);
  const context = canvas.getContext("2d");
  lay(context, picture, place);
  const is = (row, col) => row >= 0 && col >= 0 && row < raster.rows && col < raster.cols && kept.has(row * raster.cols + col);
  context.fillStyle = DROPPED;
  for (let row = 0; row < raster.rows; row++) {
    for (let col = 0; col < raster.cols; col++) {
      if (!is(row, col)) context.fillRect(...place.cell(row, col));
    }
  }
  context.strokeStyle = EDGE;
  context.lineWidth = 2.5;
  context.beginPath();
  for (let row = 0; row < raster.rows; row++) {
    for (let col = 0; col < raster.cols; col++) {
      if (!is(row, col)) continue;
      const [x, y, w, h] = place.cell(row, col);
      if (merged) {
        context.moveTo(x + w / 2 + w / 6, y + h / 2);
        context.arc(x + w / 2, y + h / 2, w / 6, 0, 2 * Math.PI);
        continue;
      }
      if (!is(row - 1, col)) context.moveTo(x, y), context.lineTo(x + w, y);
      if (!is(row + 1, col)) context.moveTo(x, y + h), context.lineTo(x + w, y + h);
      if (!is(row, col - 1)) context.moveTo(x, y), context.lineTo(x, y + h);
      if (!is(row, col + 1)) context.moveTo(x + w, y), context.lineTo(x + w, y + h);
    }
  }
  context.stroke();
}

/** Draws the scores of a raster as heat over the picture; `shares` are from 0 to 1, null where there is none. */
export function drawScores(canvas, picture, raster, shares) {
  const place = frame(canvas, picture, raster);
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  lay(context, picture, place);
  context.filter = "none";
  context.globalAlpha = 0.78;
  shares.forEach((share, index) => {
    if (share === null) return;
    context.fillStyle = heat(share);
    context.fillRect(...place.cell(Math.floor(index / raster.cols), index % raster.cols));
  });
  context.globalAlpha = 1;
}

/** Draws the picture as it is, with the lines of rasters over it; of several the one with the most tokens. */
export function drawWhole(canvas, picture, rasters) {
  const [raster] = [...rasters].sort((a, b) => b.rows * b.cols - a.rows * a.cols);
  const place = frame(canvas, picture, raster ?? { area: [0, 0, 1, 1], rows: 1, cols: 1 });
  const context = canvas.getContext("2d");
  lay(context, picture, place);
  if (!raster) return;
  context.strokeStyle = "rgba(255, 255, 255, 0.5)";
  context.lineWidth = 2.5;
  for (let index = 0; index < raster.rows * raster.cols; index++) {
    context.strokeRect(...place.cell(Math.floor(index / raster.cols), index % raster.cols));
  }
}

/** Scores by rank, from 0 for the lowest to 1 for the highest. */
export function ranks(scores) {
  const sorted = scores.filter((score) => score !== null).sort((a, b) => a - b);
  const of = new Map(sorted.map((score, index) => [score, index / Math.max(1, sorted.length - 1)]));
  return scores.map((score) => (score === null ? null : of.get(score)));
}
