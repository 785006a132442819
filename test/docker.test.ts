// Nobody may have Docker where the tests run: the files are linted, and held against what the service really takes.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DCLinter } from 'dclint';
import { validate } from 'dockerfile-utils';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { root } from './source-tree.ts';

const read = (name: string): string => readFileSync(join(root, 'docker', name), 'utf8');

interface Compose {
  readonly services: Readonly<
    Record<string, { readonly volumes?: readonly string[]; readonly depends_on?: unknown; readonly ports?: readonly string[] }>
  >;
}

interface LintedFile {
  readonly messages: readonly { readonly type: string; readonly line: number; readonly message: string }[];
}

describe('docker', () => {
  test('the Dockerfile has no mistakes that the builder would refuse or warn of', () => {
    expect(
      validate(read('Dockerfile')).map((problem) => `line ${problem.range.start.line + 1}: ${JSON.stringify(problem.message)}`),
    ).toEqual([]);
    // The linter itself sees mistakes.
    expect(validate('FORM node\nEXPOSE x').length).toBeGreaterThan(0);
  });

  test('what the Dockerfile copies is there', () => {
    const copied = Array.from(read('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm), (match) => (match[1] ?? '').split(' ')).flat();
    expect(copied.length).toBeGreaterThan(3);
    expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('compose.yaml follows the Compose schema and good practice', () => {
    const linter = new DCLinter({
      rules: {
        'no-build-and-image': 2,
        'no-duplicate-container-names': 2,
        'no-duplicate-exported-ports': 2,
        'no-unbound-port-interfaces': 2,
        'require-quotes-in-ports': 2,
        'service-image-require-explicit-tag': 2,
        'service-ports-alphabetical-order': 0,
        'service-dependencies-alphabetical-order': 0,
        'service-keys-order': 0,
        'services-alphabetical-order': 0,
        'top-level-properties-order': 0,
        'require-project-name-field': 0,
      },
      quiet: false,
      debug: false,
      exclude: [],
    });
    const files = linter.lintFiles([join(root, 'docker', 'compose.yaml')], false) as readonly LintedFile[];
    const problems = files.flatMap((file) => file.messages);
    expect(problems.filter((problem) => problem.type === 'error').map((problem) => `${problem.line}: ${problem.message}`)).toEqual([]);
  });

  test('mounted files are there, and the collector sends where the service listens', () => {
    const compose = parse(read('compose.yaml')) as Compose;
    const mounted = Object.values(compose.services).flatMap((service) =>
      (service.volumes ?? []).filter((volume) => volume.startsWith('./')),
    );
    // homeostat.yaml is the user's own.
    const files = mounted.map((volume) => volume.split(':')[0]?.slice(2) ?? '').filter((file) => file !== 'homeostat.yaml');
    expect(files.filter((file) => !existsSync(join(root, 'docker', file)))).toEqual([]);
    const collector = parse(read('collector.yaml')) as {
      readonly exporters: Readonly<Record<string, { readonly endpoint: string }>>;
      readonly receivers: object;
      readonly processors: object;
      readonly service: {
        readonly pipelines: Readonly<Record<string, Readonly<Record<'receivers' | 'processors' | 'exporters', readonly string[]>>>>;
      };
    };
    expect(Object.values(collector.exporters).map((exporter) => exporter.endpoint)).toEqual(['http://homeostat:4318']);
    expect(Object.keys(compose.services)).toContain('homeostat');
    for (const pipeline of Object.values(collector.service.pipelines)) {
      for (const part of ['receivers', 'processors', 'exporters'] as const)
        for (const name of pipeline[part]) expect(Object.keys(collector[part])).toContain(name);
    }
  });
});
