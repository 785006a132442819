import { describe, expect, it } from 'vitest';
import { parseSeriesCsv } from '../../../src/edge/cli/series-csv.ts';

const read = (text: string): Record<string, unknown> => Object.fromEntries(parseSeriesCsv(text, 'load.csv'));

describe('series from CSV', () => {
  it('reads one series or many, with or without a header, in any usual time format', () => {
    const expected = [
      { atMs: 1_704_067_200_000, value: 1 },
      { atMs: 1_704_067_500_000, value: 2.5 },
    ];
    expect(read('timestamp,value\n2024-01-01 00:00:00,1\n2024-01-01T00:05:00Z,2.5\n')).toEqual({ '': expected });
    expect(read('1704067200,1\r\n1704067500,2.5\r\n')).toEqual({ '': expected });
    expect(read('\uFEFFseries,timestamp,value\na,1704067200000,1\na,2024-01-01T01:05:00+01:00,2.5\n"b, c",2024-01-01,7')).toEqual({
      a: expected,
      'b, c': [{ atMs: 1_704_067_200_000, value: 7 }],
    });
  });

  it('takes an empty value or NaN as missing', () => {
    expect(read('t,v\n1704067200,1\n1704067500,\n1704067800,NaN\n')).toEqual({ '': [{ atMs: 1_704_067_200_000, value: 1 }] });
  });

  it('goes by the names of a header, and takes no column for another', () => {
    const point = [{ atMs: 1_704_067_200_000, value: 7 }];
    expect(read('value,timestamp\n7,2024-01-01\n')).toEqual({ '': point });
    expect(read('timestamp,value,series\n2024-01-01,7,a\n')).toEqual({ a: point });
    expect(read('region,time,value\neu,2024-01-01,7\n')).toEqual({ eu: point });
    expect(() => read('timestamp,value,unit\n2024-01-01,7,1\n')).toThrow(
      'load.csv:1: column "unit" is none of series, timestamp and value',
    );
    expect(() => read('2024-01-01,7,1\n')).toThrow('load.csv:1: the first column is a time');
  });

  it('names the line of what it cannot read', () => {
    expect(() => read('t,v\n1704067200,1\n1704067500,x\n')).toThrow('load.csv:3: "x" is no number');
    expect(() => read('t,v\nyesterday,1\n')).toThrow('load.csv:2: "yesterday" is no timestamp');
    expect(() => read('t,v\n1704067200,1\n1704067500,1,2\n')).toThrow('load.csv:3: 3 columns where the lines before have 2');
    expect(() => read('1704067200,1\n\n1704067500,Infinity\n')).toThrow('load.csv:3: "Infinity" is no number');
    expect(() => read('1704067200,1\n1704067500,-1e308\n')).toThrow('load.csv:2: -1e308 is too large to forecast');
    expect(() => read('a\n')).toThrow('load.csv:1: 1 columns');
    expect(() => read('')).toThrow('no data lines');
    expect(() => read('a,1704067200,\n')).toThrow('series "a" has no value');
  });
});
