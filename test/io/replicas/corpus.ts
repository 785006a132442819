/**
 * The adversarial corpus of row comparison: pairs that some tool in use calls equal though they differ (joined with separators, NULL
 * as '', trimmed, folded, rounded, hashed with CRC and XOR), and equal values that are written differently. SQL literals a column.
 */
export type EngineName = 'postgres' | 'mariadb';

export interface CorpusRow {
  readonly engine: EngineName;
  /** Column type -> literal, in column order a, b, c ... */
  readonly columns: readonly (readonly [type: string, literal: string])[];
}

export interface CorpusPair {
  readonly name: string;
  readonly left: CorpusRow;
  readonly right: CorpusRow;
}

type Columns = CorpusRow['columns'];

const pair = (engines: readonly [EngineName, EngineName], name: string, left: Columns, right: Columns): CorpusPair => ({
  name: `${name} (${engines.join('/')})`,
  left: { engine: engines[0], columns: left },
  right: { engine: engines[1], columns: right },
});

const PP = ['postgres', 'postgres'] as const;
const MM = ['mariadb', 'mariadb'] as const;
const PM = ['postgres', 'mariadb'] as const;

/** One type, two literals a line. */
const one = (
  engines: readonly [EngineName, EngineName],
  type: string,
  rows: readonly (readonly [string, string])[],
): readonly CorpusPair[] =>
  rows.map(([left, right]) => pair(engines, `${type}: ${left} against ${right}`, [[type, left]], [[type, right]]));

const texts = (engines: readonly [EngineName, EngineName], left: readonly string[], right: readonly string[]): CorpusPair =>
  pair(
    engines,
    `texts: ${left.join(' , ')} against ${right.join(' , ')}`,
    left.map((literal) => ['varchar(100)', literal] as const),
    right.map((literal) => ['varchar(100)', literal] as const),
  );

const shifted: readonly (readonly [readonly string[], readonly string[]])[] = [
  [
    ["'p|q'", "'r'"],
    ["'p'", "'q|r'"],
  ],
  [
    ["'p#q'", "'r'"],
    ["'p'", "'q#r'"],
  ],
  [
    ["'p,q'", "'r'"],
    ["'p'", "'q,r'"],
  ],
  [
    ["'p'", "'q'"],
    ["'pq'", "''"],
  ],
  [
    ["''", "'x'"],
    ["'x'", "''"],
  ],
  [
    ['NULL', "'x'"],
    ["'x'", 'NULL'],
  ],
  [
    ["''", 'NULL'],
    ['NULL', "''"],
  ],
  [
    ["'~'", "''"],
    ['NULL', "''"],
  ],
  [
    ["'1:a'", "''"],
    ["'1'", "':a'"],
  ],
  [
    ["'a;'", "'b'"],
    ["'a'", "';b'"],
  ],
  [
    ["'NULL'", "'x'"],
    ['NULL', "'x'"],
  ],
  [
    ["'a'", 'NULL', "'b'"],
    ["'a'", "'b'", 'NULL'],
  ],
  [
    ["'\\N'", "'x'"],
    ['NULL', "'x'"],
  ],
  [
    ["'a'", "'b'"],
    ["'b'", "'a'"],
  ],
];

const differingTexts: readonly (readonly [string, string])[] = [
  ['NULL', "''"],
  ["''", "' '"],
  ["'a'", "'a '"],
  ["'a'", "' a'"],
  ["'a'", "'A'"],
  ["'é'", "'e'"],
  ["'ß'", "'ss'"],
  ["'1'", "'01'"],
  ["'1.0'", "'1'"],
  ["'null'", 'NULL'],
  ["'a\tb'", "'a b'"],
  ["'a\nb'", "'a b'"],
  ["'a\r\nb'", "'a\nb'"],
  ["'\u00c5'", "'A\u030a'"],
  ["'\u200bx'", "'x'"],
  ["'\u00a0'", "' '"],
  ["'😀'", "'😁'"],
  ["'true'", "'t'"],
];

const differingOf: readonly (readonly [EngineName, string, readonly (readonly [string, string])[]])[] = [
  [
    'postgres',
    'bigint',
    [
      ['9007199254740993', '9007199254740992'],
      ['0', 'NULL'],
      ['-1', '1'],
      ['9223372036854775807', '9223372036854775806'],
      // To the engine's own hash functions these are the same (they fold 64 bits, leave out signs, do not tell NaN from Infinity).
      ['1', '4294967296'],
      ['4294967297', '0'],
    ],
  ],
  [
    'postgres',
    'numeric',
    [
      ['0.1', '0.10000000000000000001'],
      ['100', '10'],
      ['12345678901234567890123', '12345678901234567890124'],
      ["'NaN'", 'NULL'],
      ["'NaN'", '0'],
      ['1e20', '1e21'],
      ['12.5', '-12.5'],
      ["'NaN'", "'Infinity'"],
      ["'-Infinity'", "'Infinity'"],
    ],
  ],
  [
    'postgres',
    'float8',
    [
      ['0.1', '0.1::float8 + 1.4e-17'],
      ["'NaN'", "'Infinity'"],
      ['1e-320', '0'],
      ["'Infinity'", "'-Infinity'"],
      ['1e16', '1e16::float8 + 2'],
    ],
  ],
  [
    'postgres',
    'float4',
    [
      ['16777216', '16777218'],
      ['0.1', '0.1::float4 + 1e-8::float4'],
    ],
  ],
  [
    'postgres',
    'bytea',
    [
      ["'\\x00'", "'\\x'"],
      ["'\\x0001'", "'\\x01'"],
      ["'\\x61'", 'NULL'],
      ["'\\xff'", "'\\xfe'"],
    ],
  ],
  [
    'postgres',
    'timestamptz',
    [
      ["'2026-01-01 00:00:00.000001Z'", "'2026-01-01 00:00:00Z'"],
      ["'2026-01-01 00:00:00Z'", "'2026-01-01 00:00:00+01'"],
      ["'infinity'", "'-infinity'"],
      ["'2000-01-01 01:11:34.967296Z'", "'2000-01-01 00:00:00.000001Z'"],
    ],
  ],
  [
    'postgres',
    'timestamp',
    [
      ["'0044-03-15 BC'", "'0044-03-15'"],
      ["'2026-03-29 02:30'", "'2026-03-29 03:30'"],
    ],
  ],
  [
    'postgres',
    'date',
    [
      ["'infinity'", 'NULL'],
      ["'10000-01-01'", "'1000-01-01'"],
    ],
  ],
  [
    'postgres',
    'time',
    [
      ["'24:00'", "'00:00'"],
      ["'01:11:34.967296'", "'00:00:00.000001'"],
      ["'12:00:00.1'", "'12:00:00.10001'"],
    ],
  ],
  [
    'postgres',
    'interval',
    [
      ["'1 day'", "'24 hours'"],
      ["'1 mon'", "'30 days'"],
      ["'0'", 'NULL'],
    ],
  ],
  [
    'postgres',
    'jsonb',
    [
      ['\'{"a":null}\'', "'{}'"],
      ["'null'", 'NULL'],
      ['\'"1"\'', "'1'"],
      ["'[1,2]'", "'[2,1]'"],
      ["'[[1]]'", "'[[[[1]]]]'"],
      ["'[]'", "'{}'"],
      ['\'{"a":"1.0"}\'', '\'{"a":"1.00"}\''],
      ['\'{"a":"x\\"1.50"}\'', '\'{"a":"x\\"1.5"}\''],
    ],
  ],
  [
    'postgres',
    'int[]',
    [
      ["'{1,2,3,4}'", "'{{1,2},{3,4}}'"],
      ["'{}'", 'NULL'],
    ],
  ],
  [
    'postgres',
    'text[]',
    [
      ["'{NULL}'", '\'{"NULL"}\''],
      ["'{a,b}'", '\'{"a,b"}\''],
      ["'{}'", '\'{""}\''],
      ["'{a,b}'", "'{b,a}'"],
      ["'[2:3]={a,b}'", "'{a,b}'"],
    ],
  ],
  [
    'postgres',
    'bit varying(8)',
    [
      ["B'0'", "B'00'"],
      ["B''", 'NULL'],
    ],
  ],
  [
    'postgres',
    'inet',
    [
      ["'10.0.0.1/24'", "'10.0.0.1'"],
      ["'::1'", "'::2'"],
    ],
  ],
  [
    'postgres',
    'char(5)',
    [
      ["'a'", "'b'"],
      ["' a'", "'a'"],
    ],
  ],
  [
    'mariadb',
    'bigint unsigned',
    [
      ['18446744073709551615', '18446744073709551614'],
      ['9007199254740993', '9007199254740992'],
    ],
  ],
  [
    'mariadb',
    'decimal(30,10)',
    [
      ['1.0000000001', '1'],
      ['12345678901234567890.1', '12345678901234567890.2'],
    ],
  ],
  [
    'mariadb',
    'double',
    [
      ['0.1e0', '0.10000000000000002e0'],
      ['1e300', '1.0000000000000002e300'],
      ['1e-300', '0'],
    ],
  ],
  [
    'mariadb',
    'float',
    [
      ['16777216', '16777218'],
      ['0.1', '0.10000002'],
    ],
  ],
  [
    'mariadb',
    'varbinary(10)',
    [
      ["x'00'", "x''"],
      ["x'61'", "x'41'"],
      ["x'6120'", "x'61'"],
    ],
  ],
  ['mariadb', 'datetime(6)', [["'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00'"]]],
  [
    'mariadb',
    'json',
    [
      ['\'{"a":null}\'', "'{}'"],
      ["'null'", 'NULL'],
      ["'[1,2]'", "'[2,1]'"],
      ['\'{"a":12345678901234567890}\'', '\'{"a":12345678901234567891}\''],
    ],
  ],
  ['mariadb', 'bit(8)', [["b'1'", "b'10'"]]],
  ['mariadb', 'boolean', [['2', '1']]],
];

/** Two columns of one type whose values have changed places: what a hash that may pass its seed through does not see. */
const swapped: readonly (readonly [string, string, string])[] = [
  ['float8', '0', '5'],
  ['numeric', '0', '5'],
  ['numeric', "'NaN'", '0'],
  ['bigint', '0', '4294967296'],
  ['boolean', 'true', 'false'],
  ['boolean', 'false', 'NULL'],
  ['int', '0', 'NULL'],
  ['date', "'epoch'", 'NULL'],
];

export const differing: readonly CorpusPair[] = [
  ...swapped.map(([type, a, b]) =>
    pair(
      PP,
      `${type}: ${a} and ${b} against ${b} and ${a}`,
      [
        [type, a],
        [type, b],
      ],
      [
        [type, b],
        [type, a],
      ],
    ),
  ),
  ...[PP, MM, PM].flatMap((engines) => shifted.map(([left, right]) => texts(engines, left, right))),
  ...[PP, MM, PM].flatMap((engines) => one(engines, 'varchar(100)', differingTexts)),
  ...differingOf.flatMap(([engine, type, rows]) => one([engine, engine], type, rows)),
];

const same = (
  left: readonly [string, string],
  right: readonly [string, string],
  engines: readonly [EngineName, EngineName] = PM,
): CorpusPair => pair(engines, `${left.join(' ')} as ${right.join(' ')}`, [left], [right]);

export const equal: readonly CorpusPair[] = [
  same(['numeric', '1.50'], ['numeric', '1.5'], PP),
  same(['numeric', '1e3'], ['numeric(10,2)', '1000.00'], PP),
  same(['numeric', '-0.0'], ['numeric', '0'], PP),
  same(['int', '7'], ['bigint', '7'], PP),
  same(['int', '7'], ['numeric(10,4)', '7'], PP),
  same(['smallint', '-32768'], ['numeric', '-32768.000'], PP),
  same(['float4', '0.5'], ['float8', '0.5'], PP),
  same(['float8', "'-0'"], ['float8', '0'], PP),
  same(['float8', "'NaN'"], ['float8', "'NaN'"], PP),
  same(['money', "'12.30'"], ['numeric', '12.3'], PP),
  same(['varchar(10)', "'a'"], ['text', "'a'"], PP),
  same(['char(5)', "'a'"], ['char(8)', "'a'"], PP),
  same(['char(5)', "'a'"], ['text', "'a'"], PP),
  same(['timestamptz', "'2026-07-01 12:00+02'"], ['timestamptz', "'2026-07-01 10:00Z'"], PP),
  same(['timestamp', "'2026-07-01 12:00'"], ['timestamptz', "'2026-07-01 12:00Z'"], PP),
  same(['timestamptz(3)', "'2026-07-01 12:00:00.120Z'"], ['timestamptz', "'2026-07-01 12:00:00.12Z'"], PP),
  same(['interval', "'1 year 2 months'"], ['interval', "'14 months'"], PP),
  same(['interval', "'36 hours'"], ['interval', "'PT36H'"], PP),
  same(['json', '\'{"b":1,"a":2}\''], ['json', '\'{ "a": 2, "b": 1 }\''], PP),
  same(['json', '\'{"a":1.50}\''], ['jsonb', '\'{"a":1.5}\''], PP),
  same(['jsonb', '\'{"a":[1.0,{"b":2.10}]}\''], ['jsonb', '\'{"a":[1,{"b":2.1}]}\''], PP),
  same(['json', '\'{"a":1,"a":2}\''], ['jsonb', '\'{"a":2}\''], PP),
  same(['json', '\'{"a":1e2}\''], ['jsonb', '\'{"a":100}\''], PP),
  same(['json', '\'"\\u00e9\\/"\''], ['jsonb', '\'"é/"\''], PP),
  same(['json', '\'"\\ud83d\\ude00"\''], ['jsonb', '\'"😀"\''], PP),
  same(['json', '\'{"p":"C:\\\\u0000","n":1.0}\''], ['jsonb', '\'{"n":1,"p":"C:\\\\u0000"}\''], PP),
  same(['bytea', "'\\x6162'"], ['bytea', "'ab'"], PP),
  same(['uuid', "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], ['uuid', "'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'"], PP),
  same(['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], ['text', "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], PP),
  same(['inet', "'10.0.0.1/32'"], ['inet', "'10.0.0.1'"], PP),
  same(['inet', "'::FFFF:1.2.3.4'"], ['inet', "'::ffff:102:304'"], PP),
  same(['numeric[]', "'{1.50,2.0}'"], ['numeric[]', "'{1.5,2}'"], PP),
  same(['boolean', 'true'], ['int', '1'], PP),
  same(['boolean', 'false'], ['bit(1)', "B'0'"], PP),
  same(['date', "'2026-01-02'"], ['date', "'2026-1-2'"], PP),
  same(['time', "'01:02:03.400'"], ['time', "'01:02:03.4'"], PP),
  same(['int', '42'], ['int', '42']),
  same(['bigint', '9223372036854775807'], ['bigint unsigned', '9223372036854775807']),
  same(['int', '42'], ['int(8) unsigned zerofill', '42']),
  same(['numeric(12,2)', '1234.50'], ['decimal(20,6)', '1234.5']),
  same(['numeric', '-0.001'], ['decimal(10,5)', '-0.00100']),
  same(['numeric', '100'], ['decimal(10,0)', '100']),
  same(['numeric', '0'], ['decimal(10,4)', '0.0000']),
  same(['numeric', '7'], ['int', '7']),
  same(['float8', '0.1'], ['double', '0.1e0']),
  same(['float8', '1e300'], ['double', '1e300']),
  same(['float8', '-1.5e-20'], ['double', '-1.5e-20']),
  same(['float8', '123456789012345680000'], ['double', '123456789012345680000e0']),
  same(['float4', '0.1'], ['float', '0.1']),
  same(['float4', '16777216'], ['float', '16777216']),
  same(['boolean', 'true'], ['boolean', 'true']),
  same(['boolean', 'false'], ['tinyint(1)', '0']),
  same(['boolean', 'true'], ['bit(1)', "b'1'"]),
  same(['text', "'naïve 😀'"], ['varchar(50)', "'naïve 😀'"]),
  same(['text', "'café'"], ['varchar(50) CHARACTER SET latin1', "'café'"]),
  same(['text', "'a '"], ['varchar(50)', "'a '"]),
  same(['char(5)', "'a'"], ['char(9)', "'a'"]),
  same(['text', "'b'"], ["enum('a','b')", "'b'"]),
  same(['text', "''"], ['text', "''"]),
  same(['text', 'NULL'], ['text', 'NULL']),
  same(['bytea', "'\\x00ff'"], ['varbinary(10)', "x'00FF'"]),
  same(['bytea', "'\\x'"], ['blob', "x''"]),
  same(['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], ['uuid', "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
  same(['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], ['char(36)', "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
  same(['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], ['binary(16)', "x'a0eebc999c0b4ef8bb6d6bb9bd380a11'"]),
  same(['date', "'2026-01-02'"], ['date', "'2026-01-02'"]),
  same(['time', "'01:02:03.4'"], ['time(6)', "'01:02:03.400000'"]),
  same(['timestamp', "'2026-01-02 03:04:05'"], ['datetime', "'2026-01-02 03:04:05'"]),
  same(['timestamp', "'2026-01-02 03:04:05.060000'"], ['datetime(6)', "'2026-01-02 03:04:05.06'"]),
  same(['timestamptz', "'2026-01-02 03:04:05.6+01'"], ['timestamp(6)', "'2026-01-02 02:04:05.600000'"]),
  same(['timestamptz', "'2026-01-02 03:04:05Z'"], ['datetime(3)', "'2026-01-02 03:04:05.000'"]),
  same(['jsonb', '\'{"b": [1.0, null], "a": "x"}\''], ['json', '\'{"a":"x","b":[1,null]}\'']),
  same(['jsonb', '\'{"aa":1,"b":2}\''], ['json', '\'{"aa":1.00,"b":2}\'']),
  same(['json', '\'{"a":"\\u00e9"}\''], ['json', '\'{"a":"é"}\'']),
  same(['jsonb', "'12345678901234567890.5'"], ['json', "'12345678901234567890.50'"]),
  same(['bit(8)', "B'00000101'"], ['bit(8)', "b'101'"]),
  same(['inet', "'10.0.0.1'"], ['inet4', "'10.0.0.1'"]),
  same(['inet', "'::1'"], ['inet6', "'::1'"]),
  same(['int', '2026'], ['year', '2026']),
];
