// Plays all signals of one example at once and lets one of them be heard. Switching changes gains only, so that the
// position stays the same to the sample.

const FADE = 0.005; // seconds
const LEAD = 0.03; // seconds from the command to the first sample, so that all start together

class Player {
  constructor(onchange) {
    this.onchange = onchange;
    this.contexts = new Map();
    this.loop = false;
    this.clear();
  }

  clear() {
    this.example = null;
    this.role = 0;
    this.playing = false;
    this.offset = 0;
    this.voices = [];
    this.token = {};
  }

  get duration() {
    return this.example ? Math.max(...this.example.signals.map((signal) => signal.seconds)) : 0;
  }

  // Seconds into the example.
  get position() {
    if (!this.playing || !this.voices.length) return this.offset;
    return Math.min(this.duration, this.offset + Math.max(0, this.context.currentTime - this.startTime));
  }

  // Choose an example; nothing is decoded until it is played. The role is kept where there is one of that number.
  load(number) {
    if (this.example?.number === number) return;
    const role = this.role;
    this.stop();
    this.example = { number, ...report.listen.examples[number] };
    this.offset = 0;
    this.role = Math.min(role, this.example.signals.length - 1);
    this.onchange();
  }

  async play() {
    if (this.playing || !this.example) return;
    const token = (this.token = {});
    this.playing = true;
    this.onchange();
    const { number, signals } = this.example;
    this.context = this.contextFor(signals[0].sample_rate);
    await this.context.resume();
    const buffers = await Promise.all(signals.map((_, role) => decode(number, role)));
    if (token === this.token) this.start(buffers);
  }

  start(buffers) {
    if (this.offset >= this.duration) this.offset = 0;
    this.startTime = this.context.currentTime + LEAD;
    this.voices = buffers.map((buffer, role) => {
      const source = new AudioBufferSourceNode(this.context, { buffer });
      const gain = new GainNode(this.context, { gain: role === this.role ? 1 : 0 });
      source.connect(gain).connect(this.context.destination);
      if (this.offset < buffer.duration) source.start(this.startTime, this.offset);
      return { source, gain };
    });
    const longest = buffers.reduce((most, buffer, role) => (buffer.duration > buffers[most].duration ? role : most), 0);
    const { token } = this;
    this.voices[longest].source.onended = () => token === this.token && this.ended();
    this.onchange();
  }

  ended() {
    this.stop();
    this.offset = 0;
    this.onchange();
    if (this.loop) this.play();
  }

  stop() {
    this.offset = this.position;
    this.token = {};
    this.playing = false;
    for (const { source, gain } of this.voices) {
      fade(gain, 0, this.context);
      source.onended = null;
      try {
        source.stop(this.context.currentTime + 2 * FADE);
      } catch {
        // A signal that was shorter than the position was never started.
      }
    }
    this.voices = [];
  }

  pause() {
    this.stop();
    this.onchange();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  seek(seconds) {
    const wasPlaying = this.playing;
    this.stop();
    this.offset = Math.min(this.duration, Math.max(0, seconds));
    this.onchange();
    if (wasPlaying) this.play();
  }

  select(role) {
    if (!this.example?.signals[role]) return;
    this.role = role;
    this.voices.forEach(({ gain }, index) => fade(gain, index === role ? 1 : 0, this.context));
    this.onchange();
  }

  // A context at the rate of the sound, so that nothing is resampled before the device.
  contextFor(rate) {
    if (!this.contexts.has(rate)) this.contexts.set(rate, newContext(rate));
    return this.contexts.get(rate);
  }
}

function newContext(sampleRate) {
  try {
    return new AudioContext({ sampleRate });
  } catch {
    return new AudioContext();
  }
}

function fade({ gain }, value, context) {
  gain.cancelScheduledValues(context.currentTime);
  gain.setValueAtTime(gain.value, context.currentTime);
  gain.linearRampToValueAtTime(value, context.currentTime + FADE);
}

const decoded = new Map();

// Samples of one role of an example, at the rate of the file.
function decode(number, role) {
  const key = `${number} ${role}`;
  if (!decoded.has(key)) {
    const { sample_rate: rate, num_channels: channels } = report.listen.examples[number].signals[role];
    const bytes = Uint8Array.from(atob(soundOf(number)[role].flac), (letter) => letter.charCodeAt(0));
    decoded.set(key, new OfflineAudioContext(channels, 1, rate).decodeAudioData(bytes.buffer));
  }
  return decoded.get(key);
}

const sounds = new Map();

// Sound and pictures stand in elements of their own, and are read when they are needed.
function soundOf(number) {
  if (!sounds.has(number)) sounds.set(number, readJson(`sound-${number}`));
  return sounds.get(number);
}
