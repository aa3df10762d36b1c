#!lua flags=allow-oom
-- How far a reader of the events has come. KEYS: bookmarks. ARGV: tag, reader, position (empty: it is only asked for),
-- how long they are kept (ms).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return cmsgpack.pack({ARGV[1], now, 'ok', redis.call('HGET', KEYS[1], ARGV[2]) or ''})
