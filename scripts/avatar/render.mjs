// Renders DiceBear art with its parts: node render.mjs {adventurer,avataaars} COUNT SEED OUT_PREFIX
//
// OUT_PREFIX.rgb  COUNT pictures of 144 x 144 x 3 bytes, one after the other
// OUT_PREFIX.json one object a picture: the parts it was drawn with and, for glasses, earrings
//                 and features, how many pixels they change ("visible"), since hair may cover them
import { createAvatar } from '@dicebear/core';
import * as collection from '@dicebear/collection';
import { Resvg } from '@resvg/resvg-js';
import fs from 'node:fs';

const SIZE = 144;
const [style, count, seed, prefix] = process.argv.slice(2);
if (!(style in collection) || !(Number(count) > 0) || !prefix) {
  console.error('usage: node render.mjs {adventurer,avataaars} COUNT SEED OUT_PREFIX');
  process.exit(2);
}
const parts = JSON.parse(fs.readFileSync(new URL('./parts.json', import.meta.url)));

// Mulberry32: a seeded generator, so that a render can be made again.
let state = Number(seed);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const pick = (list) => list[Math.floor(random() * list.length)];
const variant = (n) => 'variant' + String(1 + Math.floor(random() * n)).padStart(2, '0');
function pickByShare(groups) {
  let left = random();
  for (const group of Object.values(groups)) {
    if (left < group.share) return pick(group.parts);
    left -= group.share;
  }
  return pick(Object.values(groups)[0].parts);
}

function pixels(options) {
  const svg = createAvatar(collection[style], options).toString();
  return new Resvg(svg, { fitTo: { mode: 'width', value: SIZE }, background: '#' + options.backgroundColor[0] }).render().pixels;
}

function visible(image, options, part) {
  const without = pixels({ ...options, [part + 'Probability']: 0 });
  let changed = 0;
  for (let k = 0; k < image.length; k += 4) {
    if (Math.abs(image[k] - without[k]) + Math.abs(image[k + 1] - without[k + 1]) + Math.abs(image[k + 2] - without[k + 2]) > 40) changed++;
  }
  return changed;
}

function drawParts() {
  const meta = { hair_color: pick(Object.keys(parts.hair_colors)), background: pick(Object.keys(parts.backgrounds)), skin: pick(Object.keys(parts.skins)) };
  const options = {
    seed: 's' + Math.floor(random() * 1e9), size: SIZE, backgroundColor: [parts.backgrounds[meta.background]],
    skinColor: [parts.skins[meta.skin]], hairColor: [parts.hair_colors[meta.hair_color]],
  };
  if (style !== 'adventurer') return [meta, options];
  meta.hair = pickByShare(parts.hair);
  meta.mouth = pickByShare(parts.mouth);
  do meta.eyes = pickByShare(parts.eyes);
  while (parts.eyes.wink.parts.includes(meta.eyes) && parts.covers_an_eye.includes(meta.hair));
  meta.eyebrows = variant(15);
  meta.glasses = random() < parts.glasses_share ? variant(5) : null;
  meta.earrings = random() < parts.earrings_share ? variant(6) : null;
  meta.features = random() < parts.features_share ? pick(['mustache', 'blush', 'birthmark', 'freckles']) : null;
  for (const part of ['hair', 'mouth', 'eyes', 'eyebrows', 'glasses', 'earrings', 'features']) {
    options[part + 'Probability'] = meta[part] ? 100 : 0;
    if (meta[part]) options[part] = [meta[part]];
  }
  return [meta, options];
}

const file = fs.openSync(prefix + '.rgb', 'w');
const metas = [];
for (let i = 0; i < Number(count); i++) {
  const [meta, options] = drawParts();
  const image = pixels(options);
  meta.visible = {};
  for (const part of ['glasses', 'earrings', 'features']) if (meta[part]) meta.visible[part] = visible(image, options, part);
  const rgb = Buffer.alloc(SIZE * SIZE * 3);
  for (let k = 0, j = 0; k < image.length; k += 4) { rgb[j++] = image[k]; rgb[j++] = image[k + 1]; rgb[j++] = image[k + 2]; }
  fs.writeSync(file, rgb);
  metas.push(meta);
}
fs.closeSync(file);
fs.writeFileSync(prefix + '.json', JSON.stringify(metas));
