import{d as e,i as t,o as n,p as r,r as i,t as a,u as o,y as s}from"./html.js";import{A as c,D as l,a as u,c as d,j as f,n as p,o as m,r as h,s as g,t as _}from"./app.js";import{t as v}from"./confirm.js";function y(e){let[t,n]=[e,0];for(;t>=1024&&n<4;)[t,n]=[t/1024,n+1];return`${n===0||t>=10?Math.round(t):t.toFixed(1)} ${[`B`,`KiB`,`MiB`,`GiB`,`TiB`][n]}`}const b=[`dead`,`pending`,`sending`,`done`,`cancelled`],x={dead:`Dead`,pending:`Pending`,sending:`In flight`,done:`Done`,cancelled:`Cancelled`};function S({query:e,operator:n}){let{state:r=`dead`,error:i=``,group:o=``,key:c=``}=e,u=new URLSearchParams({state:r,pageSize:`60`});for(let[e,t]of Object.entries({error:i,group:o,key:c}))t!==``&&u.set(e,t);let d=f(`v1/requests?${u}`,2e3),[m,v]=s(``),{data:y,problem:S}=d,E=y?.requests??[],D=e=>p(`deferred`,{state:r,error:i,group:o,key:c,...e}),O=()=>n&&r===`dead`&&E.length>0?C({error:i,group:o,key:c},y?.total,d.refresh):!1;l({r:O,f:()=>document.querySelector(`.filters input`)?.focus(),Escape:()=>i+o+c===``?p(``):D({error:``,group:``,key:``})});let A=y?.counts,j=E.find(({id:e})=>e===m)??E[0];return a`<h1 class="hidden">Deferred requests</h1><div class="split">
<div class="pane">
<div class="chips">
${b.map(e=>a`<button class=${`chip ${e===r?`on`:``}`} aria-pressed=${e===r} onClick=${()=>p(`deferred`,{state:e})}>
${x[e]} <span>${A?.[e]===void 0?``:t(Number(A[e]))}</span>
</button>`)}
</div>
${r===`dead`&&y?.causes!==void 0&&a`<${w} ...${{causes:y.causes,error:i,filter:D}} />`}
<div class="filters">
${[`error`,`group`,`key`].map(e=>a`<label>${e} <input key=${{error:i,group:o,key:c}[e]} defaultValue=${{error:i,group:o,key:c}[e]} onChange=${t=>D({[e]:t.target.value})} /></label>`)}
<i />
${n&&r===`dead`&&E.length>0&&a`<button class="solid" onClick=${O}>Redrive ${y?.total===void 0?`these`:t(Number(y.total))}… ${g(`r`)}</button>`}
</div>
${S!==void 0&&S.status!==0&&(S.status===404?a`<p class="none">This server stores no requests: no route is deferred.</p>`:h(S,d.refresh))}
${y!==void 0&&E.length===0&&a`<p class="none">No request is ${x[r]?.toLowerCase()??r}${i+o+c===``?``:` and matches the filter`}.</p>`}
${E.length>0&&a`<${_} ...${{label:`${x[r]??``} requests`,columns:T(r),rows:E,idOf:({id:e})=>e,main:!0,onOpen:({id:e})=>v(e)}} />`}
</div>
<aside>${j&&a`<${k} ...${{id:j.id,listed:j,operator:n,after:d.refresh}} />`}</aside>
</div>`}function C(e,n,r){let i=Object.fromEntries(Object.entries(e).filter(([,e])=>e!==``)),a=Object.entries(i).map(([e,t])=>` --${e} ${t}`);v({title:`Redrive ${n===void 0?`dead letters`:t(Number(n))}?`,method:`POST`,path:`v1/requests/redrive`,body:{...i,max:1e3},now:n===void 0?`not known how many match`:`${t(Number(n))} dead letters match`,other:[`Receiver`,`Each gets a new time to be tried; id and idempotency key stay the same.`],follows:`They wait in their groups like any other, and are sent at their rate.`,undo:`Cancel those that are still pending.`,command:`sluice requests redrive --all${a.join(``)}`,confirm:`Redrive`,keep:`Leave them`,done:`Redriven.`,after:r})}function w({causes:e,error:n,filter:r}){let i=e.reduce((e,{count:t})=>e+Number(t??0),0);return a`<section>
${d(`Why they died`,`${t(i)} dead letters, by error of the last attempt`)}
<div class="grid causes">
${e.map(e=>a`<button class=${`line plain ${e.error===n?`on`:``}`} onClick=${()=>r({error:e.error??``})}>
<b>${e.error}</b><span class="t2">${e.backend??``}</span>${u(Number(e.count??0)/Math.max(1,i),``,290)}
<span class="r">${t(Number(e.count??0))}</span><span class="r t2">${D(e.lastAt)}</span>
</button>`)}
</div>
</section>`}function T(e){return[{head:e===`dead`?`Last try`:`Accepted`,width:90,cell:t=>E(e===`dead`&&t.tries?.at(-1)?.at||t.acceptedAt)},{head:`Id`,width:110,cell:({id:e})=>a`<code title=${e}>${n(e,12)}</code>`},{head:`Group`,width:130,cell:({group:e})=>e??``},{head:`Key`,width:110,cell:({key:e})=>e??``},{head:`Request`,cell:({method:e,path:t})=>a`<code>${e??``} ${t??``}</code>`},{head:`Attempts`,width:80,right:!0,cell:({attempts:e})=>t(e??0)},{head:`Age`,width:80,right:!0,cell:({acceptedAt:e})=>D(e).replace(` ago`,``)},{head:`Kept for`,width:80,right:!0,drop:1080,cell:({goneAt:e})=>O(e)}]}function E(e){let t=o(e);return t===void 0?``:i(t)}function D(e){let t=o(e);return t===void 0?``:`${r(c()-t)} ago`}function O(e){let t=o(e);return t===void 0?``:r(t-c())}function k({id:e,listed:t,operator:r,after:i}){let{data:o,problem:s}=f(`v1/requests/${encodeURIComponent(e)}`,2e3),c={...t,...o},{state:u=``,method:p=``,path:h=``,bodyBytes:_,contentType:b,tries:S=[]}=c,C={method:`POST`,body:{},now:`${u}, ${c.error??`no error`}`,after:i},w=()=>r&&(u===`pending`||u===`sending`||u===`dead`)?v({...C,title:`Cancel ${e}?`,path:`v1/requests/${encodeURIComponent(e)}/cancel`,danger:!0,follows:`It leaves the queue for good.`,undo:`None.`,command:`sluice requests cancel ${e}`,confirm:`Cancel request`,keep:`Keep it`,done:`Cancelled.`,other:[`Receiver`,u===`sending`?`The attempt is aborted; the receiver may have acted.`:`It is never delivered.`]}):!1;l({c:w});let T=[[`Request`,a`<code>${p} ${h}</code>${_===void 0?``:`, ${y(Number(_))}`}${b?`, ${b}`:``}`],[`Group, key`,[c.group,c.key].filter(Boolean).join(`, `)],[`Accepted`,`${E(c.acceptedAt)}, ${D(c.acceptedAt)}`],[u===`dead`?`Died because`:`Last error`,c.error??`none`],[`Behind it`,c.behind??``],[`Waits for`,c.waitsFor??``],[`Next attempt`,O(c.nextAttemptAt)]],k=[...S].reverse().find(({firstBytes:e})=>e!==void 0),N=u===`dead`?`red`:``;return a`<div class="phead big">
<h2><code>${n(e,14)}</code></h2>
<span class=${`state ${N}`}>${m(u===`dead`?`cross`:`ring`,N)}${x[u]??u}</span><i />${r&&a`<button onClick=${w}>Cancel ${g(`c`)}</button>`}
</div>
${s!==void 0&&s.status!==0&&a`<p class="none">${s.detail}</p>`}
<dl class="pairs">${T.filter(([,e])=>e!==``).map(([e,t])=>a`<dt>${e}</dt><dd>${t}</dd>`)}</dl>
<section>
${d(`Attempts`,`${S.length}, last first; times since accepted`)}${M(c)}
<ol class="activity">
${[...S].reverse().map(e=>a`<li>${m(e.error?`cross`:`disc`,e.error?`red`:`green`)}<time>${e.number} · ${A(c,e)}</time><span>${e.error??e.status??``}</span><span class="t2">${j(e)}</span></li>`)}
</ol>
</section>
${k&&a`<section>${d(`Answer of attempt ${k.number}`,`its first bytes`)}<pre>${k.firstBytes?.slice(0,256)}</pre></section>`}`}function A({acceptedAt:e},{at:t}){let[n,i]=[o(e),o(t)];return n===void 0||i===void 0?``:r(i-n)}function j({took:t}){let n=e(t);return n===void 0?``:n<1e3?`${Math.round(n)} ms`:r(n)}function M({acceptedAt:e,tries:t=[]}){let n=o(e),r=t.map(e=>o(e.at)).filter(e=>e!==void 0),i=r.at(-1);if(!(n===void 0||i===void 0||i<=n))return a`<svg class="ticks" viewBox="0 0 450 20" preserveAspectRatio="none" aria-hidden="true">
<path class="axis" d="M0 10H450" /><path class="tick" d=${r.map(e=>`M${((e-n)/(i-n)*448+1).toFixed(1)} 2v16`).join(``)} />
</svg>`}export{S as DeferredScreen};