// Gives the microphone's samples to the page in blocks of 4096: a message each 128 samples would be too many.

const BLOCK = 4096;

class Pcm extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true; // not connected yet
    this.block.set(samples, this.filled); // 4096 is a multiple of the 128 of each call
    this.filled += samples.length;
    if (this.filled === BLOCK) {
      this.port.postMessage(this.block, [this.block.buffer]);
      this.block = new Float32Array(BLOCK);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("pcm", Pcm);
