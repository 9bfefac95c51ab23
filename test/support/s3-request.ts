import type {IncomingMessage} from 'node:http';

/** A kind of request to an object store, as its permission is named, and parts told apart from whole objects. */
export type Operation =
  | 'PutObject'
  | 'UploadPart'
  | 'CreateMultipartUpload'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload'
  | 'ListMultipartUploads'
  | 'ListObjects'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'other';

/** A request that came by. */
export interface SeenRequest {
  readonly operation: Operation;
  readonly key: string;
  readonly headers: IncomingMessage['headers'];
}

/** What a request asks for, by its method and address. */
export function describeRequest({method, url, headers}: IncomingMessage): SeenRequest {
  const {pathname, searchParams} = new URL(url ?? '/', 'http://store');
  const key = decodeURIComponent(pathname.split('/').slice(2).join('/'));
  return {operation: operationOf(method ?? 'GET', key, searchParams), key, headers};
}

function operationOf(method: string, key: string, query: URLSearchParams): Operation {
  if (key === '') {
    if (query.has('uploads')) return 'ListMultipartUploads';
    return query.has('list-type') ? 'ListObjects' : 'other';
  }
  if (query.has('uploads')) return 'CreateMultipartUpload';
  if (query.has('uploadId')) {
    const ofUpload = {
      PUT: 'UploadPart',
      POST: 'CompleteMultipartUpload',
      DELETE: 'AbortMultipartUpload',
    } as const;
    return ofUpload[method as keyof typeof ofUpload] ?? 'other';
  }
  const ofObject = {
    PUT: 'PutObject',
    GET: 'GetObject',
    HEAD: 'HeadObject',
    DELETE: 'DeleteObject',
  } as const;
  return ofObject[method as keyof typeof ofObject] ?? 'other';
}
