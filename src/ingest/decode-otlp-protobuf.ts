import { PlainSpanDecoder } from './plain-span-decoder.ts';
import type { SpanBatch } from './span-batch.ts';
import { SpanCore } from './span-core.ts';

export type Decoded = { readonly is: 'decoded' } | { readonly is: 'malformed'; readonly what: string };

/**
 * `ExportTraceServiceRequest` (OTLP 1.11) from protobuf bytes into columns. Written by hand because this is the hot path: generated decoders
 * make an object for each span, attribute and value and reach a twentieth of its speed or less (`npm run bench -- decode`); protobufjs is the
 * oracle in the tests.
 *
 * As the protobuf specification asks: fields in any order, unknown fields skipped, a field with another wire type is unknown, the last
 * of a repeated scalar wins, overlong varints are accepted. Groups are skipped. UTF-8 is not checked: broken text becomes U+FFFD.
 *
 * Decoded by a compiled core. What is malformed, larger than 16 MiB, or holds groups or far more spans or attributes than its size lets
 * expect, is left to the decoder in TypeScript, which takes twice as long and has its own strings.
 */
export class ProtobufDecoder {
  readonly #distinctStrings: number;
  readonly #arenaBytes: number;
  #core: SpanCore | undefined;
  #plain: PlainSpanDecoder | undefined;
  /** Requests since the last large one; infinite where there was none. */
  #sinceLarge = Number.POSITIVE_INFINITY;

  constructor(options: { readonly distinctStrings?: number; readonly arenaBytes?: number } = {}) {
    this.#distinctStrings = options.distinctStrings ?? 32_768;
    this.#arenaBytes = options.arenaBytes ?? 4 * 1024 * 1024;
    this.#core = openCore(this.#distinctStrings, this.#arenaBytes);
  }

  /** Fills `batch`. Malformed bytes leave it with what came before the fault: the caller drops it whole. */
  decode(bytes: Uint8Array, batch: SpanBatch): Decoded {
    const decoded = this.read(bytes, batch);
    if (decoded.is === 'decoded') batch.columnsIn?.fill(batch);
    return decoded;
  }

  /** {@link decode} for a `BatchPacker`: the batch need not have its columns, and has to be packed or filled before the next request. */
  read(bytes: Uint8Array, batch: SpanBatch): Decoded {
    this.#letGo(bytes.byteLength);
    if (this.#core?.read(bytes, batch) === true) return { is: 'decoded' };
    this.#plain ??= new PlainSpanDecoder(this.#distinctStrings, this.#arenaBytes);
    return this.#plain.decode(bytes, batch);
  }

  /** Of what large requests have touched once they do not come any more: a new core has touched nothing. */
  #letGo(bytes: number): void {
    this.#sinceLarge = bytes > largeBytes ? 0 : this.#sinceLarge + 1;
    if (this.#sinceLarge !== requestsUntilSmall) return;
    this.#core = openCore(this.#distinctStrings, this.#arenaBytes);
    this.#plain = undefined;
  }
}

/** None where JavaScript has no compiler, on processors without its instructions, and where address space is bounded too tightly. */
function openCore(distinctStrings: number, arenaBytes: number): SpanCore | undefined {
  if (typeof WebAssembly === 'undefined') return undefined;
  try {
    return new SpanCore(distinctStrings, arenaBytes);
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return undefined;
    throw error;
  }
}

const largeBytes = 1024 * 1024;
const requestsUntilSmall = 1000;
