import {crc32, deflateSync} from 'node:zlib';
import type {Page} from 'playwright-core';

/** What a browser's canvas gives of a picture: four bytes a pixel. */
interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly rgba: Buffer;
}

/** The parts of a browser that are used here; Node's types do not have them. */
interface BrowserWindow {
  readonly fetch: (url: string) => Promise<{blob(): Promise<unknown>}>;
  readonly createImageBitmap: (blob: unknown) => Promise<{readonly width: number; readonly height: number}>;
  readonly btoa: (binary: string) => string;
  readonly OffscreenCanvas: new (
    width: number,
    height: number,
  ) => {
    getContext(kind: '2d'): {
      drawImage(image: unknown, x: number, y: number): void;
      getImageData(x: number, y: number, width: number, height: number): {readonly data: Uint8ClampedArray};
    };
  };
}

/**
 * A screenshot of few colours, as of text and charts, as a PNG with a palette: a third of its size. The colours that
 * most pixels have stay as they are; the others, mostly of the edges of letters, become the one that is nearest.
 */
export async function smallPng(page: Page, screenshot: Buffer): Promise<Buffer> {
  // The page itself may forbid to fetch anything, as a report does.
  const blank = await page.context().browser()?.newPage();
  if (blank === undefined) throw new Error('The page belongs to no browser of ours.');
  try {
    return withPalette(await pixelsOf(blank, screenshot));
  } finally {
    await blank.close();
  }
}

async function pixelsOf(page: Page, screenshot: Buffer): Promise<Pixels> {
  const {width, height, base64} = await page.evaluate(async (png) => {
    const window = globalThis as unknown as BrowserWindow;
    const image = await window.createImageBitmap(
      await (await window.fetch(`data:image/png;base64,${png}`)).blob(),
    );
    const context = new window.OffscreenCanvas(image.width, image.height).getContext('2d');
    context.drawImage(image, 0, 0);
    const {data} = context.getImageData(0, 0, image.width, image.height);
    let binary = '';
    // As many at a time as a function takes arguments.
    for (let at = 0; at < data.length; at += 32_768)
      binary += String.fromCharCode(...data.subarray(at, at + 32_768));
    return {width: image.width, height: image.height, base64: window.btoa(binary)};
  }, screenshot.toString('base64'));
  return {width, height, rgba: Buffer.from(base64, 'base64')};
}

const mostColours = 256;

function withPalette({width, height, rgba}: Pixels): Buffer {
  const colours = Array.from({length: width * height}, (_, pixel) => rgba.readUInt32BE(pixel * 4) >>> 8);
  const counts = new Map<number, number>();
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const byCount = [...counts].sort(([, a], [, b]) => b - a).map(([colour]) => colour);
  const palette = byCount.slice(0, mostColours);
  const indices = new Map(byCount.map((colour) => [colour, nearest(palette, colour)]));
  // Each row begins with the number of its filter, 0 for none.
  const rows = Buffer.alloc(height * (width + 1));
  for (const [pixel, colour] of colours.entries())
    rows[pixel + Math.floor(pixel / width) + 1] = indices.get(colour) ?? 0;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // Eight bits a pixel, which are an index of the palette.
  header.set([8, 3], 8);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('PLTE', Buffer.from(palette.flatMap(channelsOf))),
    chunk('IDAT', deflateSync(rows, {level: 9})),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function nearest(palette: readonly number[], colour: number): number {
  const wanted = channelsOf(colour);
  const distances = palette.map((each) =>
    channelsOf(each).reduce((sum, value, channel) => sum + (value - (wanted[channel] ?? 0)) ** 2, 0),
  );
  return distances.indexOf(Math.min(...distances));
}

function channelsOf(colour: number): readonly number[] {
  return [colour >> 16, (colour >> 8) & 255, colour & 255];
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
