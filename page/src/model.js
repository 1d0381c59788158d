// The model as the page carries it: base64 of gzip of a JSON header and the tensors that it names.
//
// Matrices are int8, each row times its own scale; all other numbers are float32.

/** Return { header, tensor(name) } of a packed model. */
export async function unpack(base64) {
  const text = atob(base64);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i); // much faster than Uint8Array.from
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = Math.ceil((4 + length) / 4) * 4;
  return { header, tensor: (name) => dequantised(buffer, start, header.tensors[name]) };
}

function dequantised(buffer, start, { shape, floats, bytes }) {
  if (bytes === undefined) return new Float32Array(buffer.slice(start + floats, start + floats + 4 * shape[0]));
  const [rows, columns] = shape;
  const scales = new Float32Array(buffer, start + floats, rows);
  const values = new Int8Array(buffer, start + bytes, rows * columns);
  const result = new Float32Array(rows * columns);
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++) result[i] = values[i] * scales[row];
  return result;
}
