'use strict';
const byId = (id) => document.getElementById(id);
const figures = [...document.querySelectorAll('figure')];
const choices = [...document.querySelectorAll('.choice')];
const KEYS = {ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'equal'};
const RETRY = [500, 1000, 2000, 4000, 8000];
let token = null, person = '', key = '', state = null;
let began = null;  // when both images were visible; null while answers are not taken
let held = false;  // whether the original stands in place of both images
const view = {scale: 0, x: 0.5, y: 0.5};  // device pixels per image pixel, 0: fitted; the point in the middle
const kept = new Map();  // images of this comparison and the next, decoded

// ---------------------------------------------------------------- requests

async function ask(path, body) {
  const response = await fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)});
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), {status: response.status});
  return answer;
}

/** Ask until there is an answer: the server may be restarted meanwhile, and knows answers that it has stored. */
async function insist(path, body) {
  for (let tries = 0; ; tries++) {
    try {
      const answer = await ask(path, {...body, token});
      byId('problem').textContent = '';
      return answer;
    } catch (error) {
      if (error.status === 401) {
        try { token = (await ask('enter', {name: person, key})).token; continue; } catch (again) { error = again; }
      }
      if (error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 429) throw error;
      byId('problem').textContent = `Not stored yet (${error.status ? error.message : 'no connection'}); trying again.`;
      await new Promise((resolve) => setTimeout(resolve, RETRY[Math.min(tries, RETRY.length - 1)]));
    }
  }
}

const address = (trial, side) => `image/${token}/${trial}/${side}`;

/** An image element that is loaded and decoded, of this comparison or the next. */
function loaded(trial, side) {
  const name = `${trial} ${side}`;
  if (!kept.has(name)) {
    const image = new Image();
    image.src = address(trial, side);
    kept.set(name, image.decode().then(() => image, (error) => { kept.delete(name); throw error; }));
  }
  return kept.get(name);
}

// ---------------------------------------------------------------- showing a comparison

async function show(next) {
  state = next;
  began = null;
  held = false;
  choices.forEach((button) => { button.disabled = true; });
  const finished = state.trial === null;
  byId('welcome').hidden = true;
  byId('study').hidden = finished;
  byId('end').hidden = !finished;
  byId('again').hidden = state.total === 0;
  if (finished) return;
  byId('question').textContent = state.question;
  byId('progress').value = state.done / state.total;
  byId('count').textContent = `${Math.min(state.trial + 1, state.total)} of ${state.total}`;
  byId('equal').hidden = !state.ties;
  byId('back').disabled = state.trial === 0;
  choices.forEach((button) => button.classList.toggle('chosen', button.dataset.choice === state.choice));
  const {trial} = state;
  const shown = figures.filter((figure) => figure.dataset.side !== 'reference' || state.reference);
  figures.forEach((figure) => {
    figure.hidden = !shown.includes(figure);
    figure.querySelector('img').classList.remove('ready');
  });
  for (const name of kept.keys()) if (Number(name.split(' ')[0]) < trial) kept.delete(name);
  Object.assign(view, {scale: 0, x: 0.5, y: 0.5});
  for (;;) {
    try {
      const images = await Promise.all(shown.map((figure) => loaded(trial, figure.dataset.side)));
      if (state !== next) return;
      await Promise.all(shown.map((figure, index) => {
        const image = figure.querySelector('img');
        image.src = images[index].src;
        return image.decode();
      }));
      break;
    } catch (error) {
      if (state !== next) return;
      byId('problem').textContent = 'An image did not arrive; trying again.';
      await new Promise((resolve) => setTimeout(resolve, 1500));
      try { await insist('state', {trial}); } catch (refused) { byId('problem').textContent = refused.message; }
    }
  }
  if (state !== next) return;
  byId('problem').textContent = '';
  layout();
  shown.forEach((figure) => figure.querySelector('img').classList.add('ready'));
  requestAnimationFrame(() => {
    if (state !== next) return;
    began = performance.now();
    choices.forEach((button) => { button.disabled = false; });
  });
  if (trial + 1 < state.total) shown.forEach((figure) => loaded(trial + 1, figure.dataset.side).catch(() => {}));
}

async function choose(choice) {
  if (began === null || held || (choice === 'equal' && !state.ties)) return;
  const seconds = (performance.now() - began) / 1000;
  const {trial, revision} = state;
  began = null;
  choices.forEach((button) => {
    button.disabled = true;
    button.classList.toggle('chosen', button.dataset.choice === choice);
  });
  try {
    await show(await insist('vote', {trial, revision, choice, seconds}));
  } catch (error) {
    byId('problem').textContent = error.message;
    try { await show(await insist('state', {})); } catch (refused) { byId('problem').textContent = refused.message; }
  }
}

async function back() {
  const trial = (state.trial ?? state.total) - 1;
  if (trial < 0 || (began === null && state.trial !== null)) return;
  began = null;
  await show(await insist('state', {trial}));
}

// ---------------------------------------------------------------- zoom: the same part of all images

const fitted = (box, image) => Math.min(box.clientWidth / image.naturalWidth, box.clientHeight / image.naturalHeight);

function layout() {
  const ratio = window.devicePixelRatio || 1;
  for (const box of document.querySelectorAll('.view')) {
    const image = box.querySelector('img');
    if (!image.naturalWidth || !box.clientWidth) continue;
    const most = Math.min(fitted(box, image), 1 / ratio);  // never enlarged, unless people zoom
    const scale = view.scale ? view.scale / ratio : most;
    const place = (inside, size, at) => size * scale <= inside ? (inside - size * scale) / 2
      : Math.min(0, Math.max(inside - size * scale, inside / 2 - at * size * scale));
    const x = place(box.clientWidth, image.naturalWidth, view.x);
    const y = place(box.clientHeight, image.naturalHeight, view.y);
    image.style.transform = `translate(${Math.round(x * ratio) / ratio}px, ${Math.round(y * ratio) / ratio}px) scale(${scale})`;
    image.classList.toggle('sharp', scale * ratio > 1.01);
    box.classList.toggle('close', Boolean(view.scale));
  }
  byId('zoom').setAttribute('aria-pressed', String(Boolean(view.scale)));
}

/** Where a point of the screen is in an image, 0 to 1 each way. */
function within(box, clientX, clientY) {
  const place = box.querySelector('img').getBoundingClientRect();
  const share = (at, start, size) => Math.min(1, Math.max(0, size ? (at - start) / size : 0.5));
  return [share(clientX, place.left, place.width), share(clientY, place.top, place.height)];
}

function zoomTo(scale, x = view.x, y = view.y) {
  Object.assign(view, {scale, x, y});
  layout();
}

function zoomBy(factor, box, clientX, clientY) {
  const ratio = window.devicePixelRatio || 1, image = box.querySelector('img');
  if (!image.naturalWidth) return;
  const least = Math.min(fitted(box, image) * ratio, 1);
  const scale = Math.min(8, (view.scale || least) * factor);
  const [x, y] = view.scale ? [view.x, view.y] : within(box, clientX, clientY);
  zoomTo(scale <= least ? 0 : scale, x, y);
}

for (const box of document.querySelectorAll('.view')) {
  const fingers = new Map();
  let moved = 0, apart = 0;
  const distance = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  box.addEventListener('pointerdown', (event) => {
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    box.setPointerCapture(event.pointerId);
    if (fingers.size === 1) moved = 0;
    if (fingers.size === 2) apart = distance();
  });
  box.addEventListener('pointermove', (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    moved += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2) {
      const now = distance();
      if (apart) zoomBy(now / apart, box, event.clientX, event.clientY);
      apart = now;
    } else if (view.scale) {
      const place = box.querySelector('img').getBoundingClientRect();
      const clamp = (value) => Math.min(1, Math.max(0, value));
      zoomTo(view.scale, clamp(view.x - dx / place.width), clamp(view.y - dy / place.height));
    }
  });
  const up = (event) => {
    const [last] = fingers.delete(event.pointerId) ? [event] : [];
    if (!last || fingers.size || moved > 8 || event.type !== 'pointerup') return;
    if (view.scale) zoomTo(0); else zoomTo(1, ...within(box, event.clientX, event.clientY));
  };
  box.addEventListener('pointerup', up);
  box.addEventListener('pointercancel', up);
  box.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), box, event.clientX, event.clientY);
  }, {passive: false});
}

// ---------------------------------------------------------------- controls

/** While R is held, the original stands in place of both images, and no answer is taken. */
function compareWithOriginal(on) {
  if (!state || !state.reference || began === null) return;
  held = on;
  const original = document.querySelector('figure[data-side="reference"] img').src;
  for (const side of ['left', 'right']) {
    const image = document.querySelector(`figure[data-side="${side}"] img`);
    const wanted = on ? original : new URL(address(state.trial, side), document.baseURI).href;
    if (image.src !== wanted) { image.src = wanted; image.decode().then(layout, () => {}); }
  }
}

document.addEventListener('keydown', (event) => {
  if (byId('study').hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (KEYS[event.key]) choose(KEYS[event.key]);
  else if (event.key === 'Backspace') back();
  else if (event.key.toLowerCase() === 'z') zoomTo(view.scale ? 0 : 1);
  else if (event.key.toLowerCase() === 'r') compareWithOriginal(true);
  else return;
  event.preventDefault();
});
document.addEventListener('keyup', (event) => { if (event.key.toLowerCase() === 'r') compareWithOriginal(false); });
window.addEventListener('blur', () => compareWithOriginal(false));  // its keyup goes to another window
choices.forEach((button) => button.addEventListener('click', () => { button.blur(); choose(button.dataset.choice); }));
byId('back').addEventListener('click', back);
byId('again').addEventListener('click', back);
byId('zoom').addEventListener('click', () => { byId('zoom').blur(); zoomTo(view.scale ? 0 : 1); });
window.addEventListener('resize', layout);
byId('enter').addEventListener('submit', async (event) => {
  event.preventDefault();
  person = byId('name').value;
  key = byId('key').value;
  byId('refused').textContent = '';
  try {
    const entered = await ask('enter', {name: person, key});
    token = entered.token;
    try { localStorage.setItem('depictqa-study-name', person); } catch { /* not allowed here: enter it again */ }
    await show(entered);
  } catch (error) {
    if (error.status === 403) byId('keyed').hidden = false;
    byId('refused').textContent = error.status ? error.message : 'The study is not running; ask the person who runs it.';
  }
});
try { byId('name').value = localStorage.getItem('depictqa-study-name') ?? ''; } catch { /* not allowed here */ }
byId('name').focus();
