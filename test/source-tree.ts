// Reads the sources for the tidy test: which files there are, what each imports, and its code without comments and types.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from 'esbuild';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

export interface SourceFile {
  /** Relative to the project, with `/`. */
  readonly path: string;
  readonly text: string;
  /** Without comments and types. */
  readonly code: string;
  /** Resolved project paths of relative imports, types included. */
  readonly imports: readonly string[];
  /** Specifiers of packages and `node:` modules, types left out. */
  readonly packages: readonly string[];
}

/** Every file below a folder, as project paths. */
export function filesBelow(folder: string): readonly string[] {
  const top = join(root, folder);
  if (!existsSync(top)) return [];
  return readdirSync(top, { recursive: true, encoding: 'utf8' })
    .map((name) => join(top, name))
    .filter((path) => !path.includes(`${sep}node_modules${sep}`) && statSync(path).isFile())
    .map((path) => relative(root, path).split(sep).join('/'))
    .toSorted();
}

// An import or export with `from`, a side-effect import, a dynamic import of a literal.
const importPattern = /(?:^|[\n;])\s*(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?\s*['"]([^'"\n]+)['"]|\bimport\(\s*['"]([^'"\n]+)['"]\s*\)/g;

export function readSource(path: string): SourceFile {
  const text = readFileSync(join(root, path), 'utf8');
  const code = transformSync(text, {
    loader: path.endsWith('x') ? 'tsx' : 'ts',
    legalComments: 'none',
    format: 'esm',
    target: 'esnext',
    jsx: 'preserve',
  }).code;
  const specifiers = (source: string): readonly string[] =>
    Array.from(source.matchAll(importPattern), (match) => match[1] ?? match[2] ?? '');
  return {
    path,
    text,
    code,
    imports: specifiers(text)
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) =>
        relative(root, resolve(root, dirname(path), specifier))
          .split(sep)
          .join('/'),
      ),
    packages: specifiers(code).filter((specifier) => !specifier.startsWith('.')),
  };
}

/** The sources under `src/`, once. */
export const sources: readonly SourceFile[] = filesBelow('src')
  .filter((path) => /\.tsx?$/.test(path))
  .map(readSource);

/** Every string literal of a file's code that could name another source file: workers and page entries are started by path. */
export function namedFiles(file: SourceFile): readonly string[] {
  const literals = Array.from(file.code.matchAll(/['"`]([\w./-]+\.tsx?)['"`]/g), (match) => match[1] ?? '');
  return literals.flatMap((literal) => [
    relative(root, resolve(root, dirname(file.path), literal))
      .split(sep)
      .join('/'),
    `src/${literal.replace(/^\.?\//, '')}`,
  ]);
}
