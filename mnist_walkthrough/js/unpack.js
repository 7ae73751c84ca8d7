// Tensors from a gzipped safetensors file: eight bytes that tell the header's length, the header as JSON,
// then the numbers, little-endian.

const TYPES = { U8: Uint8Array, U16: Uint16Array, F32: Float32Array };

/**
 * @param {BlobPart} packed bytes
 * @returns {Promise<Record<string, Uint8Array | Uint16Array | Float32Array>>} by their names
 */
export async function unpack(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  return Object.fromEntries(
    Object.entries(header).map(([name, { dtype, data_offsets }]) => {
      const [from, to] = data_offsets.map((/** @type {number} */ at) => at + 8 + length);
      return [name, new TYPES[/** @type {keyof typeof TYPES} */ (dtype)](buffer.slice(from, to))];
    }),
  );
}
