import fc from 'fast-check';

/** Export requests for property tests: wire fields in any order, with unknown ones between them. */

type WireField = { readonly tag: number; readonly value: Buffer };

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const field = (number: number, wireType: number, value: Buffer): WireField => ({ tag: number * 8 + wireType, value });
export const bytesField = (number: number, content: Buffer): WireField =>
  field(number, 2, Buffer.concat([varint(BigInt(content.length)), content]));
export const textField = (number: number, text: string): WireField => bytesField(number, Buffer.from(text));
const varintField = (number: number, value: bigint | number): WireField => field(number, 0, varint(BigInt(value)));
const fixed64Field = (number: number, value: bigint): WireField => {
  const content = Buffer.alloc(8);
  content.writeBigUInt64LE(BigInt.asUintN(64, value));
  return field(number, 1, content);
};
export const join = (fields: readonly WireField[]): Buffer =>
  Buffer.concat(fields.flatMap(({ tag, value }) => [varint(BigInt(tag)), value]));

const unknownField: fc.Arbitrary<WireField> = fc.oneof(
  fc
    .tuple(fc.integer({ min: 100, max: 1_000_000 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    .map(([number, value]) => varintField(number, value)),
  fc
    .tuple(fc.integer({ min: 100, max: 5000 }), fc.uint8Array({ maxLength: 20 }))
    .map(([number, content]) => bytesField(number, Buffer.from(content))),
  fc
    .tuple(fc.integer({ min: 100, max: 5000 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    .map(([number, value]) => fixed64Field(number, value)),
  fc
    .tuple(fc.integer({ min: 100, max: 5000 }), fc.uint8Array({ minLength: 4, maxLength: 4 }))
    .map(([number, content]) => field(number, 5, Buffer.from(content))),
);

/** The fields in any order, with unknown ones among them. */
const message = (...fields: readonly fc.Arbitrary<readonly WireField[]>[]): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.tuple(...fields), fc.array(unknownField, { maxLength: 2 }))
    .chain(([known, unknown]) => {
      const all = [...known.flat(), ...unknown];
      return fc.shuffledSubarray(all, { minLength: all.length });
    })
    .map(join);

const optional = (value: fc.Arbitrary<WireField>): fc.Arbitrary<readonly WireField[]> =>
  fc.option(value, { nil: undefined }).map((found) => (found === undefined ? [] : [found]));
const some = (value: fc.Arbitrary<WireField>, most = 3): fc.Arbitrary<readonly WireField[]> => fc.array(value, { maxLength: most });

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('', 'x'.repeat(127), 'y'.repeat(128), 'z'.repeat(300)),
);
const int64 = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, 2n ** 53n - 1n, -(2n ** 53n), 2n ** 31n, 2n ** 32n, 127n, 128n),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);
/** Up to the year 2255, where microseconds leave the exact integers of a double; later times are rounded. */
const latest = BigInt(Number.MAX_SAFE_INTEGER) * 1000n + 999n;
const nanoseconds = fc.oneof(
  fc.constantFrom(0n, 999n, 1000n, latest, 2n ** 53n + 1n, 1_700_000_000_123_456_789n),
  fc.bigInt({ min: 0n, max: latest }),
);
const key = fc.oneof(
  fc.constantFrom(
    'db.system.name',
    'db.query.text',
    'consistency.version',
    'consistency.object.key',
    'messaging.kafka.offset',
    'service.name',
    'db.query.parameter.3',
    'db.query.parameter.99',
    'error.type',
  ),
  // Which of them count depends on which are there.
  fc.constantFrom('http.route', 'url.template', 'url.path', 'url.full', 'http.target'),
  text,
);

const { anyValue } = fc.letrec<{ anyValue: Buffer; keyValue: Buffer }>((tie) => ({
  anyValue: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    text.map((value) => join([textField(1, value)])),
    fc.boolean().map((value) => join([varintField(2, value ? 1 : 0)])),
    int64.map((value) => join([varintField(3, value)])),
    fc.double({ noNaN: true }).map((value) => {
      const content = Buffer.alloc(8);
      content.writeDoubleLE(value);
      return join([field(4, 1, content)]);
    }),
    fc.uint8Array({ maxLength: 20 }).map((value) => join([bytesField(7, Buffer.from(value))])),
    fc.array(tie('anyValue'), { maxLength: 3 }).map((values) => join([bytesField(5, join(values.map((value) => bytesField(1, value))))])),
    fc.array(tie('keyValue'), { maxLength: 3 }).map((values) => join([bytesField(6, join(values.map((value) => bytesField(1, value))))])),
    fc.constant(Buffer.alloc(0)),
  ),
  keyValue: fc.tuple(fc.string({ maxLength: 5 }), tie('anyValue')).map(([name, value]) => join([textField(1, name), bytesField(2, value)])),
}));

const keyValue = message(optional(key.map((name) => textField(1, name))), optional(anyValue.map((value) => bytesField(2, value))));
const attributes = (number: number): fc.Arbitrary<readonly WireField[]> =>
  some(
    keyValue.map((content) => bytesField(number, content)),
    5,
  );
const idField = (number: number, length: number): fc.Arbitrary<WireField> =>
  fc
    .oneof(
      { weight: 9, arbitrary: fc.uint8Array({ minLength: length, maxLength: length }) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 20 }) },
      { weight: 1, arbitrary: fc.constant(new Uint8Array(length)) },
    )
    .map((id) => bytesField(number, Buffer.from(id)));

const event = message(
  optional(nanoseconds.map((value) => fixed64Field(1, value))),
  optional(fc.constantFrom('exception', 'consistency.operation', 'message', '').map((name) => textField(2, name))),
  attributes(3),
);
const link = message(optional(idField(1, 16)), optional(idField(2, 8)), attributes(4));
const status = message(
  optional(text.map((value) => textField(2, value))),
  optional(fc.integer({ min: 0, max: 2 }).map((code) => varintField(3, code))),
);
const span = message(
  idField(1, 16).map((id) => [id]),
  idField(2, 8).map((id) => [id]),
  optional(text.map((value) => textField(3, value))),
  optional(idField(4, 8)),
  optional(text.map((value) => textField(5, value))),
  optional(fc.integer({ min: 0, max: 5 }).map((kind) => varintField(6, kind))),
  optional(nanoseconds.map((value) => fixed64Field(7, value))),
  optional(nanoseconds.map((value) => fixed64Field(8, value))),
  attributes(9),
  some(event.map((content) => bytesField(11, content))),
  some(link.map((content) => bytesField(13, content))),
  optional(status.map((content) => bytesField(15, content))),
  optional(fc.constant(field(16, 5, Buffer.from([1, 0, 0, 0])))),
);
const scopeSpans = message(
  some(
    span.map((content) => bytesField(2, content)),
    4,
  ),
  optional(text.map((url) => textField(3, url))),
);
const resource = message(attributes(1));
const resourceSpans = message(
  optional(resource.map((content) => bytesField(1, content))),
  some(scopeSpans.map((content) => bytesField(2, content))),
);
/** An `ExportTraceServiceRequest` as protobuf allows it. */
export const traceRequest: fc.Arbitrary<Buffer> = message(some(resourceSpans.map((content) => bytesField(1, content))));

const attributeOf = (name: string, value: Buffer): Buffer => join([textField(1, name), bytesField(2, value)]);
const textValue = (value: string): Buffer => join([textField(1, value)]);
/** What may stand at the same place of spans that are alike: the same again, another value, another key, and forms that nobody writes. */
const alikeAttributes: readonly Buffer[] = [
  ...['postgresql', 'mysql', 'redis', '', 'v'.repeat(200)].map((value) => attributeOf('db.system.name', textValue(value))),
  ...['postgresql', 'mysql'].map((value) => attributeOf('db.system', textValue(value))),
  ...[5432n, 5433n, 2n ** 60n, -1n].map((value) => attributeOf('server.port', join([varintField(3, value)]))),
  ...['worker-1', 'worker-2', 'w', '', 'w'.repeat(200)].map((value) => attributeOf('thread.name', textValue(value))),
  ...['/orders/{id}', ''].map((value) => attributeOf('http.route', textValue(value))),
  ...['/orders/1', '/orders/2'].map((value) => attributeOf('url.path', textValue(value))),
  attributeOf('db.namespace', Buffer.alloc(0)),
  attributeOf('a', textValue('b')),
  join([bytesField(2, textValue('postgresql')), textField(1, 'db.system.name')]),
  join([textField(1, 'db.system.name'), bytesField(2, textValue('mysql')), bytesField(2, textValue('redis'))]),
  join([textField(1, 'thread.name'), bytesField(2, textValue('worker-1')), textField(1, 'db.system.name')]),
  join([textField(1, 'db.system.name'), bytesField(2, textValue('mysql')), textField(1, 'thread.name')]),
  join([textField(1, 'thread.name')]),
  // The length of the value is 2 in two bytes, of which the first is also what is left of the attribute; and another key comes last.
  Buffer.concat([
    join([textField(1, 'thread.name')]),
    Buffer.from([0x12, 0x82, 0x00, 0x0a, 0x00]),
    join([bytesField(100, Buffer.alloc(108)), textField(1, 'db.system.name')]),
  ]),
  Buffer.alloc(0),
];
/** Requests of many spans of few names, whose attributes differ here and there. */
export const alikeRequest: fc.Arbitrary<Buffer> = fc
  .array(
    fc.tuple(
      fc.constantFrom('SELECT', 'UPDATE', ''),
      fc.array(fc.oneof(fc.nat({ max: alikeAttributes.length - 1 }), fc.constantFrom(0, 0, 7, 11)), { maxLength: 4 }),
    ),
    { minLength: 2, maxLength: 30 },
  )
  .map((spans) =>
    join([
      bytesField(
        1,
        join([
          bytesField(
            2,
            join(
              spans.map(([name, which], i) =>
                bytesField(
                  2,
                  join([
                    bytesField(1, Buffer.alloc(16, 1)),
                    bytesField(2, Buffer.alloc(8, 1 + i)),
                    textField(5, name),
                    ...which.map((nth) => bytesField(9, alikeAttributes[nth] as Buffer)),
                  ]),
                ),
              ),
            ),
          ),
        ]),
      ),
    ]),
  );

/** Requests of which some bytes are others, too many or missing. */
export const mutated = (request: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      request,
      fc.array(fc.tuple(fc.nat(), fc.constantFrom('flip', 'cut', 'insert', 'zero', 'ones'), fc.nat({ max: 255 })), {
        minLength: 1,
        maxLength: 5,
      }),
    )
    .map(([original, mutations]) => {
      let bytes = Buffer.from(original);
      for (const [where, how, value] of mutations) {
        if (bytes.length === 0) break;
        const at = where % bytes.length;
        if (how === 'cut') bytes = bytes.subarray(0, at);
        else if (how === 'insert') bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([value]), bytes.subarray(at)]);
        else bytes[at] = how === 'flip' ? (bytes[at] ?? 0) ^ (1 << (value & 7)) : how === 'zero' ? 0 : 255;
      }
      return bytes;
    });
