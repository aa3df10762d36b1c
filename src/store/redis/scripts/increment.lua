#!lua
-- Adds to a number of the data. KEYS: session, channels, operation. ARGV: tag, id, most data bytes, field, by.
local id, key, m = live(ARGV[2])
if not id then return answer('missing') end
local done = answered(KEYS[4])
if done then return answer('ok', done) end
if not fits(key, id, 0) then return answer('again') end

local function integer(text) return string.find(text, '^-?%d+$') ~= nil end
local function number(text)
  return integer(text) or string.find(text, '^-?%d+%.?%d*[eE]?[+-]?%d*$') ~= nil
end

local field, by, most = ARGV[4], ARGV[5], tonumber(ARGV[3])
local old = redis.call('HGET', key, field)
if old and not number(old) then return answer('not_a_number') end
invalidate('c', m.v + 1, id)
local command = integer(old or '0') and integer(by) and 'HINCRBY' or 'HINCRBYFLOAT'
local sum = redis.pcall(command, key, field, by)
if type(sum) == 'table' and sum.err then return answer('not_a_number') end
sum = redis.call('HGET', key, field)

local bytes = m.bytes + #sum - (old and #old or -(#field - 2))
if bytes > most and bytes > m.bytes then
  if old then redis.call('HSET', key, field, old) else redis.call('HDEL', key, field) end
  return answer('too_large', bytes, most)
end
remember(KEYS[4], sum)
m.v, m.bytes = m.v + 1, bytes
write(key, m)
tell('changed', id, m, core(key), {version = m.v})
return answer('ok', sum)
