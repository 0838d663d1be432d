/**
 * What a program sees of the world: the same clock and the same random numbers in each run, so that both modules do the same to
 * the byte; what it writes; and nothing else of WASI.
 */

const SUCCESS = 0;
const UNSUPPORTED = 52;
/** Time passes by so much whenever the program looks. */
const STEP_NS = 1_000_000;
/** Of all that is written, the last so many characters are kept. */
const LONGEST_OUTPUT = 4000;

/** Ends the program, which had asked for it. */
export class Exit extends Error {
  constructor(readonly code: number) {
    super(`the program ended with exit code ${code}`);
  }
}

export class World {
  output = "";
  private time_ns = 0;
  private state = 0x2545f491;
  private readonly decoder = new TextDecoder();

  constructor(private readonly memory: () => ArrayBuffer) {}

  now_ns(): number {
    return (this.time_ns += STEP_NS);
  }

  /** Fills with numbers that look random (xorshift, 32 bits). */
  fill(bytes: Uint8Array): Uint8Array {
    for (let at = 0; at < bytes.length; at++) {
      this.state ^= this.state << 13;
      this.state ^= this.state >>> 17;
      this.state ^= this.state << 5;
      bytes[at] = this.state;
    }
    return bytes;
  }

  /** A function of WASI preview 1; those that are not here say that they are not supported. */
  wasi(name: string): WebAssembly.ImportValue {
    return this.functions[name] ?? (() => UNSUPPORTED);
  }

  private readonly functions: Record<string, (...words: any[]) => number> = {
    fd_write: (_file: number, list: number, count: number, written: number) => this.write(list >>> 0, count, written >>> 0),
    random_get: (address: number, length: number) => {
      this.fill(new Uint8Array(this.memory(), address >>> 0, length >>> 0));
      return SUCCESS;
    },
    clock_time_get: (_clock: number, _precision: bigint, address: number) => {
      this.view().setBigUint64(address >>> 0, BigInt(this.now_ns()), true);
      return SUCCESS;
    },
    proc_exit: (code: number) => {
      throw new Exit(code);
    },
  };

  private write(list: number, count: number, written: number): number {
    let sum = 0;
    for (let at = list; at < list + 8 * count; at += 8) {
      const [address, length] = [this.view().getUint32(at, true), this.view().getUint32(at + 4, true)];
      const text = this.decoder.decode(new Uint8Array(this.memory(), address, length).slice(), { stream: true });
      this.output = (this.output + text).slice(-LONGEST_OUTPUT);
      sum += length;
    }
    this.view().setUint32(written, sum, true);
    return SUCCESS;
  }

  private view(): DataView {
    return new DataView(this.memory());
  }
}
