'use strict';
const {images, labels, faults, maps} = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const STEP = 120, BINS = 20;
let shown = [], drawn = 0;

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;  // names of files may hold anything: never as HTML
  return made;
}

function layer(name, src, alt) {
  return Object.assign(element('img', name), {src, alt, loading: 'lazy', decoding: 'async'});
}

function card(image) {
  const box = element('article', 'card');
  const frame = element(image.href ? 'a' : 'div', 'image', image.thumbnail ? undefined : 'no preview');
  if (image.href) Object.assign(frame, {href: image.href, target: '_blank', rel: 'noopener'});
  if (image.thumbnail) frame.append(layer('', image.thumbnail, image.name));
  if (image.map) {
    const {overlay, low, high} = image.map;
    frame.classList.add('mapped');
    frame.append(layer('map', overlay, `quality map: its tiles score from ${low.toFixed(1)} to ${high.toFixed(1)}`));
  }
  const facts = element('dl');
  const name = element('div', 'name');
  name.append(element('bdi', '', image.name));
  name.title = image.name;
  facts.append(name);
  if (image.error) {
    facts.append(element('div', 'error', image.error));
  } else {
    if (image.score !== undefined) {
      const line = element('div', 'score', image.score.toFixed(1) + ' ');
      line.append(element('small', '', `${image.low.toFixed(0)} to ${image.high.toFixed(0)}`));
      facts.append(line);
    }
    if (image.map) facts.append(element('div', 'tiles', `tiles ${image.map.low.toFixed(0)} to ${image.map.high.toFixed(0)}`));
    if (image.labels) facts.append(element('div', 'labels', image.labels.join(' and ') || 'no distortion'));
    if (image.faults && image.faults.length) facts.append(element('div', 'labels', `fault: ${image.faults.join(', ')}`));
    facts.append(element('small', '', `${image.width} × ${image.height}`));
  }
  box.append(frame, facts);
  return box;
}

function drawMore() {
  byId('gallery').append(...shown.slice(drawn, drawn + STEP).map(card));
  drawn = Math.min(shown.length, drawn + STEP);
}

const ORDERS = {
  'score': (a, b) => (b.score ?? -1) - (a.score ?? -1),
  '-score': (a, b) => (a.score ?? 101) - (b.score ?? 101),
  'confidence': (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2),
  'name': (a, b) => a.name.localeCompare(b.name, undefined, {numeric: true}),
  'place': (a, b) => a.place - b.place,
};

function has(image, name) {
  if (name === 'none') return Boolean(image.labels) && !image.labels.length;
  return Boolean(image.labels && image.labels.includes(name) || image.faults && image.faults.includes(name));
}

function wanted(image) {
  const low = byId('low').valueAsNumber || 0, high = byId('high').valueAsNumber;
  const label = byId('label').value, text = byId('text').value.toLowerCase();
  if (byId('failed').checked !== Boolean(image.error) && byId('failed').checked) return false;
  if (byId('mapped').checked && !image.map) return false;
  const whole = low <= 0 && !(high < 100);
  if (!whole && !(image.score >= low && image.score <= (Number.isNaN(high) ? 100 : high))) return false;
  if (label && !has(image, label)) return false;
  return !text || image.name.toLowerCase().includes(text);
}

function update() {
  shown = images.filter(wanted).sort(ORDERS[byId('sort').value]);
  drawn = 0;
  byId('gallery').replaceChildren();
  drawMore();
  byId('count').textContent = `${shown.length} of ${images.length} images`;
}

function bar(text, count, most, upright, choose) {
  const button = element('button');
  button.type = 'button';
  button.title = `${text}: ${count} images`;
  const block = element('i');
  block.style[upright ? 'height' : 'width'] = `${(upright ? 82 : 80) * count / most}%`;
  if (upright) {
    button.append(block, element('span', '', text.split(' ')[0]));
  } else {
    const line = element('div', 'bar');
    line.append(block, element('small', '', String(count)));
    button.append(element('span', '', text), line);
  }
  button.addEventListener('click', () => { choose(); update(); });
  return button;
}

function charts() {
  const judged = images.filter((image) => image.score !== undefined), width = 100 / BINS;
  const bins = Array.from({length: BINS}, () => 0);
  for (const {score} of judged) bins[Math.min(BINS - 1, Math.floor(score / width))]++;
  byId('scores').replaceChildren(...bins.map((count, n) => bar(
    `${n * width} to ${(n + 1) * width}`, count, Math.max(1, ...bins), true,
    () => { byId('low').value = n * width; byId('high').value = (n + 1) * width; })));
  const counts = [...labels, ...faults].map((name) =>
    [name, images.filter((image) => has(image, name)).length]).filter(([, count]) => count);
  counts.sort((a, b) => b[1] - a[1]);
  byId('labels').replaceChildren(...counts.map(([label, count]) => bar(
    label, count, counts[0][1], false, () => { byId('label').value = label; })));
  byId('label').append(...counts.map(([label]) => new Option(label, label)));
  const failed = images.filter((image) => image.error).length;
  const mean = judged.reduce((sum, {score}) => sum + score, 0) / judged.length;
  byId('summary').textContent = `${images.length} images` + (judged.length ? `, mean score ${mean.toFixed(1)}` : '') +
    (failed ? `, ${failed} could not be judged` : '');
}

function offerMaps() {
  const count = images.filter((image) => image.map).length;
  if (!count) return;
  byId('maps').hidden = byId('meaning').hidden = false;
  byId('how-many').textContent = count === 1 ? 'the image' : `the ${count} images`;
  byId('scale').style.background = `linear-gradient(to right, ${maps.colours.join(', ')})`;
  if (maps.note) byId('meaning').append(' ' + maps.note);
  const show = () => byId('gallery').classList.toggle('maps', byId('show').checked);
  show();  // browsers restore checkboxes of a page that is loaded again
  byId('show').addEventListener('change', show);
  byId('mapped').addEventListener('change', update);
}

charts();
offerMaps();
update();
byId('filters').addEventListener('input', update);
byId('filters').addEventListener('submit', (event) => event.preventDefault());
byId('clear').addEventListener('click', () => { byId('filters').reset(); update(); });
new IntersectionObserver(([entry]) => {
  if (entry.isIntersecting && drawn < shown.length) drawMore();
}, {rootMargin: '1500px'}).observe(byId('end'));
