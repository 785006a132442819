import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import asc from 'assemblyscript/asc';
import { root } from '../source-tree.ts';

/** Where the compiled span decoder is, as the text of a module, so that neither a build nor a file has to be there to start. */
export const compiledPath: string = join(root, 'src', 'ingest', 'compiled-span-decoder.ts');

/** What `compiledPath` has to hold: `wasm/span-decoder.ts`, compiled. The same source gives the same bytes. */
export async function compileSpanDecoder(): Promise<string> {
  let binary: Uint8Array | undefined;
  let complaints = '';
  const options = ['--runtime', 'stub', '--noAssert', '--enable', 'simd', '--enable', 'bulk-memory', '--lowMemoryLimit', '0'];
  const { error } = await asc.main(
    ['wasm/span-decoder.ts', '-O3', ...options, '--initialMemory', pages, '--maximumMemory', pages, '--outFile', 'span-decoder.wasm'],
    {
      readFile: (name, folder) => readFile(join(root, folder, name), 'utf8').catch(() => null),
      writeFile: (_name, contents) => {
        if (typeof contents !== 'string') binary = contents;
      },
      listFiles: () => [],
      stderr: {
        write: (said) => {
          complaints += String(said);
        },
      },
    },
  );
  if (error !== null || binary === undefined) throw new Error(`wasm/span-decoder.ts: ${error?.message} ${complaints}`);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(binary)));
  const needed = (exports['pages'] as WebAssembly.Global).value as number;
  if (String(needed) !== pages) throw new Error(`the layout takes ${needed} pages of memory, not ${pages}`);
  return [
    '/** `wasm/span-decoder.ts`, compiled by `npm run wasm`: a WebAssembly module as base64. */',
    `export const compiledSpanDecoder: string =\n  '${Buffer.from(binary).toString('base64')}';`,
    '',
  ].join('\n');
}

/** Of 64 KiB: what `wasm/memory.ts` lays out, which does not grow. */
const pages = '840';

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await writeFile(compiledPath, await compileSpanDecoder());
