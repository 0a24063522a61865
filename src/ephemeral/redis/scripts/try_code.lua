-- Counts a try, then gives the record with it. ARGV: most tries, now, before which end nothing is given any more.
local r = redis.call('HMGET', KEYS[1], 'key', 'nonce', 'serial', 'epoch', 'target', 'tries', 'ends', 'live', 'digits')
local ends = tonumber(r[7] or '')
if r[8] ~= '1' or not ends or ends <= tonumber(ARGV[3]) then
    return false
end
if ends > tonumber(ARGV[2]) then
    r[6] = string.format('%.0f', math.min(tonumber(r[6]), tonumber(ARGV[1])) + 1)
    redis.call('HSET', KEYS[1], 'tries', r[6])
end
return r
