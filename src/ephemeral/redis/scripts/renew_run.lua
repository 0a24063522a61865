-- Holds a request longer. ARGV: run, now, end of the lease, before which end nothing counts any more. Gives 1, or 0 if it is another's.
local r = redis.call('HMGET', KEYS[1], 'run', 'ends', 'done')
local now, lease, ends = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(r[2] or '')
if r[1] ~= ARGV[1] or r[3] or not ends or ends <= tonumber(ARGV[4]) then return 0 end
ends = math.max(ends, lease)
redis.call('HSET', KEYS[1], 'lease', ARGV[3], 'ends', string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ends - now))
return 1
