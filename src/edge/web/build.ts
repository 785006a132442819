/** Bundles the page at start: no build step to forget, nothing from elsewhere. About 100 ms; the result lives in memory. */
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

export interface PageFile {
  readonly type: string;
  readonly body: Buffer;
  readonly gzip: Buffer;
}

export interface Page {
  readonly html: string;
  /** By path; names hold a digest, so they may be cached for ever. */
  readonly files: ReadonlyMap<string, PageFile>;
}

const types: Readonly<Record<string, string>> = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' };

export async function buildPage(): Promise<Page> {
  const result = await build({
    entryPoints: [fileURLToPath(new URL('./main.tsx', import.meta.url)), fileURLToPath(new URL('./style.css', import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['chrome109', 'firefox115', 'safari16'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    outdir: '/assets',
    legalComments: 'none',
    logLevel: 'silent',
  });
  const files = new Map<string, PageFile>();
  const names: Record<string, string> = {};
  for (const output of result.outputFiles) {
    const extension = output.path.split('.').at(-1) ?? '';
    const body = Buffer.from(output.contents);
    const path = `/assets/app-${createHash('sha256').update(body).digest('hex').slice(0, 12)}.${extension}`;
    files.set(path, { type: types[extension] ?? 'application/octet-stream', body, gzip: gzipSync(body, { level: 9 }) });
    names[extension] = path;
  }
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Homeostat</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6.5' fill='none' stroke='%232f6fde' stroke-width='2'/%3E%3Cpath d='M3 8h10' stroke='%232f6fde' stroke-width='2'/%3E%3C/svg%3E">
<link rel="stylesheet" href="${names['css'] ?? ''}">
<script type="module" src="${names['js'] ?? ''}"></script>
</head>
<body><div id="app"></div><noscript>Homeostat's page needs JavaScript; the same lists are on the command line: npx homeostat proposals list</noscript></body>
</html>
`;
  return { html, files };
}
